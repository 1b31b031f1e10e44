"""Downloads of models from a server that answers the few addresses of the hub that they need."""

import json
import logging
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import huggingface_hub.constants
import pytest
from file_server import FileServer, Repo

from icsd.config.downloads import MARKER, MODEL_FILES
from icsd.core.errors import DownloadError, ModelError
from icsd.models import hub
from icsd.models.hub import HubModel, download_model
from icsd.models.model_folder import folder_digest, model_folder

WEIGHTS = random.Random(0).randbytes(200_000)
FILES = {
    "config.json": b"{}",
    "unet/model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickle",
    "README.md": b"# A model",
}
REVISION = "0123456789abcdef0123456789abcdef01234567"
OTHER = REVISION[::-1]
MODEL = HubModel("someone/small", REVISION, MODEL_FILES)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with FileServer(repos={"someone/small": Repo(REVISION, dict(FILES))}) as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"  # read from HF_ENDPOINT at the import
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / "small"


def _content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _message(model: HubModel, folder: Path) -> str:
    with pytest.raises(DownloadError) as error:
        download_model(model, folder)
    assert not (folder / MARKER).exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_model_comes_with_its_manifest_and_without_pickles(
    server: FileServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="icsd"):
        download_model(MODEL, folder)
    content = _content(folder)
    manifest = json.loads(content.pop(MARKER))
    assert content == {"config.json": b"{}", "unet/model.safetensors": WEIGHTS}
    assert (manifest["repo_id"], manifest["revision"]) == ("someone/small", REVISION)
    assert {path: file["size"] for path, file in manifest["files"].items()} == {
        "config.json": 2,
        "unet/model.safetensors": 200_000,
    }
    assert [path.name for path in folder.parent.iterdir()] == ["small"]
    assert "small: 200.00 kB of 200.00 kB, " in caplog.text
    assert all(each.authorization is None for each in server.asked)


def test_pickles_are_not_downloaded(server: FileServer, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    download_model(HubModel(MODEL.repo_id, REVISION, ["*"]), folder)
    assert "pytorch_model.bin" not in _content(folder)
    assert "1 pickles are left out" in caplog.text


def test_an_interrupted_download_resumes_where_it_stopped(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 50_000)  # it goes on after whole chunks
    server.cuts = [100_000]
    download_model(MODEL, folder)
    assert _content(folder)["unet/model.safetensors"] == WEIGHTS
    assert [each for each in server.ranges_asked() if each] == ["bytes=100000-"]


def test_a_killed_download_is_no_model_and_the_next_one_downloads_only_the_rest(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hub, "_git_sum", killed)  # when the first file has come
        with pytest.raises(KeyboardInterrupt):
            download_model(MODEL, folder)
    assert not folder.exists()
    server.asked.clear()
    download_model(MODEL, folder)
    assert [each.path.rpartition("/")[2] for each in server.asked if "/resolve/" in each.path] == [
        "model.safetensors"
    ] * 2


def test_a_file_with_another_checksum_than_the_hubs_is_refused(server: FileServer, folder: Path) -> None:
    message = _spoiled(server, folder)
    assert message.startswith("someone/small: unet/model.safetensors has 200,000 bytes and the checksum ")
    assert message.endswith("; the file is deleted; run snakemake again")
    part = folder.with_name(".small.part")
    assert (part / "config.json").exists()
    assert not (part / "unet/model.safetensors").exists()


def _spoiled(server: FileServer, folder: Path) -> str:
    """The message when the bytes of the weights do not match the checksum in the listing."""
    original = hub.hf_hub_download

    def download(repo_id: str, path: str, **options: object) -> None:
        server.spoil = b"spoilt" if path.endswith(".safetensors") else b""
        original(repo_id, path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "hf_hub_download", download)
        return _message(MODEL, folder)


def test_another_revision_replaces_the_folder(server: FileServer, folder: Path) -> None:
    download_model(MODEL, folder)
    server.repos["someone/small"] = Repo(OTHER, {"new.safetensors": b"new", "config.json": b"{}"})
    download_model(HubModel(MODEL.repo_id, OTHER, MODEL_FILES), folder)
    assert _content(folder).keys() == {"new.safetensors", "config.json", MARKER}


def test_the_same_model_gives_the_same_manifest(server: FileServer, folder: Path) -> None:
    download_model(MODEL, folder)
    first = (folder / MARKER).read_bytes()
    download_model(MODEL, folder)
    assert (folder / MARKER).read_bytes() == first


def test_a_folder_of_the_users_own_is_left_alone(server: FileServer, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "mine.safetensors").write_bytes(b"mine")
    message = _message(MODEL, folder)
    assert "holds files, but no icsd-download.json" in message
    assert "take downloads.models.small out of the config" in message
    assert _content(folder) == {"mine.safetensors": b"mine"}
    assert server.asked == []


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        (HubModel("someone/none", REVISION, ["*"]), ["someone/none is not on the hub, or is private (the environment"]),
        (HubModel("someone/small", OTHER, ["*"]), [f"has no commit {OTHER}", "mend downloads.models.small.revision"]),
        (HubModel("someone/small", REVISION, ["*.onnx"]), ["has no file of", "it has README.md, config.json, pytorch"]),
    ],
    ids=["repository", "revision", "files"],
)  # fmt: skip
def test_a_missing_repository_commit_or_file_is_named(
    server: FileServer, folder: Path, model: HubModel, parts: list[str]
) -> None:
    message = _message(model, folder)
    assert all(part in message for part in parts), message


def test_a_model_of_pickles_alone_is_refused(server: FileServer, folder: Path) -> None:
    del server.repos["someone/small"].files["unet/model.safetensors"]
    message = _message(MODEL, folder)
    assert "has no safetensors of downloads.models.small.files" in message
    assert "a commit that has safetensors" in message


def test_a_proxys_page_is_an_error(server: FileServer, folder: Path) -> None:
    server.spoil = b"<html>"
    assert "the answer is not from the hub (JSONDecodeError: " in _message(MODEL, folder)


def test_errors_of_the_hub_name_no_secrets(server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise httpx2.ConnectError("cannot reach https://me:secret@hub.org/model?Signature=secret\nfor long")

    monkeypatch.setattr(hub, "hf_hub_download", failing)
    message = _message(MODEL, folder)
    assert "secret" not in message and "refuses the request: cannot reach https://hub.org/model?\u2026; " in message


def test_a_gated_model_needs_the_token_which_stays_out_of_log_and_files(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.repos["someone/small"].gated = True
    message = _message(MODEL, folder)
    assert "is gated: accept its terms" in message
    assert "HF_TOKEN is not set" in message
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with caplog.at_level(logging.DEBUG):
        download_model(MODEL, folder)
    assert {each.authorization for each in server.asked[-3:]} == {"Bearer hf_secret"}
    assert "hf_secret" not in caplog.text
    assert all(b"hf_secret" not in content for content in _content(folder).values())


def test_a_full_disk_is_one_message(server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        folder.with_name(".small.part").mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "hf_hub_download", full)
    assert "the disk is full (" in _message(MODEL, folder)


# A downloaded folder, in use.


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json was downloaded, and is missing"),
        (lambda folder: (folder / "config.json").write_bytes(b"{}\n"), "config.json has 3 bytes, not the 2 downloaded"),
        (lambda folder: (folder / MARKER).write_bytes(b"{"), "is unreadable"),
    ],
    ids=["missing", "size", "manifest"],
)
def test_an_incomplete_download_is_named(server: FileServer, folder: Path, damage, problem: str) -> None:
    download_model(MODEL, folder)
    assert model_folder("images.model", str(folder), ["*"]) == folder
    damage(folder)
    with pytest.raises(ModelError) as error:
        model_folder("images.model", str(folder), ["*"])
    assert str(error.value).startswith(f"images.model={folder}: ")
    assert problem in str(error.value)
    assert str(error.value).endswith("delete the folder, and `snakemake downloads` downloads it again")


def test_a_model_has_the_same_hash_downloaded_or_copied(server: FileServer, folder: Path, tmp_path: Path) -> None:
    download_model(MODEL, folder)
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / MARKER).unlink()
    assert folder_digest(folder) == folder_digest(tmp_path / "copy")


# Offline: in a process of its own, as a job is.

JOB = """
import socket, sys
tried = []
socket.socket.connect = lambda self, address: tried.append(address) or 1 / 0
socket.getaddrinfo = lambda *address, **_: tried.append(address) or 1 / 0
{imported}
from icsd.core.logs import job_log
try:
    with job_log(sys.argv[1]):
        {body}
finally:
    print(tried)
"""
LOADS = {
    "images.model=someone/small": (
        "",
        "from icsd.models.model_folder import model_folder; model_folder('images.model', 'someone/small', ['*'])",
    ),
    "captioner.vision_model=someone/small": (
        "from icsd.stages.captioner.vision import load_vision",  # transformers is imported before the log is set up
        "load_vision('someone/small', None, 'eager')",
    ),
}


@pytest.mark.parametrize("setting", LOADS)
def test_a_job_without_its_model_explains_the_download_and_uses_no_network(setting: str, tmp_path: Path) -> None:
    imported, body = LOADS[setting]
    code = JOB.format(imported=imported, body=body)
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", code, str(tmp_path / "job.log")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout == "[]\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"[job] ERROR: {setting}: no such folder, someone/small of the hub was not downloaded")
    assert "`small: {repo_id: someone/small, revision: <its commit's 40 digits>}` below downloads.models" in line
    assert f"as {setting.partition('=')[0]}: then a rule downloads it (docs/guide/downloads.md)" in line


def test_a_missing_model_of_open_clip_is_named_by_its_hub_id(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from icsd.models.text_encoder import load_text_encoder

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as error:
        load_text_encoder("ViT-B-16/openai")
    repo_id = "timm/vit_base_patch16_clip_224.openai"
    assert str(error.value).startswith(f"embeddings.model=ViT-B-16/openai: no such folder, {repo_id} of the hub was")
    assert f"{{repo_id: {repo_id}, revision: " in str(error.value)
    assert server.asked == []


def test_a_job_is_offline_and_the_rule_that_downloads_is_not(tmp_path: Path) -> None:
    code = (
        "import sys, os; import huggingface_hub.constants as c; from icsd.core.logs import job_log\n"
        "with job_log(sys.argv[1], online=True): print(c.is_offline_mode())\n"
        "with job_log(sys.argv[1]): print(c.is_offline_mode(), os.environ['HF_HUB_OFFLINE'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    command = [sys.executable, "-c", code, str(tmp_path / "job.log")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\nTrue 1\n"
