"""Downloads through the workflow: what waits for them, and one real run against a local server."""

import hashlib
import io
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from checkout import OVERLAY, SNAKEMAKE, Checkout
from file_server import FileServer, Repo

REVISION = "0123456789abcdef0123456789abcdef01234567"
ANNOTATIONS = "resources/corpora/tiny/captions.json"
MODEL = "resources/models/clip"


def _archive(corpus: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.write(corpus / "annotations" / "captions_text.json", "annotations/captions_text.json")
        archive.writestr("pictures/1.png", b"one")
    return buffer.getvalue()


def _declare(checkout: Checkout, server: FileServer) -> None:
    unpack = {"annotations/captions_text.json": ANNOTATIONS, "pictures/": "resources/corpora/tiny/pictures"}
    content = server.files["/tiny.zip"]
    file = {"address": f"{server.url}/tiny.zip", "sha256": hashlib.sha256(content).hexdigest(), "unpack": unpack}
    checkout.edit("downloads.files", {"resources/corpora/tiny.zip": file})
    checkout.edit("downloads.models", {"clip": {"repo_id": "someone/clip", "revision": REVISION}})
    checkout.edit("captions.annotations", ANNOTATIONS)
    checkout.edit("embeddings.model", "someone/clip")


def _download(checkout: Checkout, server: FileServer) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": server.url, "NO_COLOR": "1", "HF_HOME": str(checkout.folder / "home")}
    command = [SNAKEMAKE, "--configfile", OVERLAY, "--cores", "1", "downloads"]
    return subprocess.run(
        command, cwd=checkout.folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture
def server(corpus: Path, clip_folder: Path):
    files = {path.name: path.read_bytes() for path in clip_folder.iterdir()}
    with FileServer(files={"/tiny.zip": _archive(corpus)}, repos={"someone/clip": Repo(REVISION, files)}) as server:
        yield server


def test_stages_wait_for_what_is_declared_and_a_second_run_fetches_nothing(fresh: Checkout, server: FileServer) -> None:
    _declare(fresh, server)
    planned = fresh.planned("results/tiny/embeddings/all.parquet")
    downloads = {"download_file": 1, "unpack_file": 1, "fetch_model": 1}
    assert {rule: planned.get(rule) for rule in downloads} == downloads
    assert server.asked == []  # a plan needs no network

    done = _download(fresh, server)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((fresh.folder / MODEL / "icsd-download.json").read_text())
    assert manifest["revision"] == REVISION
    assert (fresh.folder / "resources/corpora/tiny/pictures/1.png").read_bytes() == b"one"

    # nothing is left to do; a mirror is the same file, another commit another model
    content = fresh.config["downloads"]["files"]["resources/corpora/tiny.zip"]
    fresh.edit("downloads.files", {"resources/corpora/tiny.zip": content | {"address": "https://example.org/tiny.zip"}})
    assert fresh.planned("downloads") == {}
    fresh.edit("downloads.models", {"clip": {"repo_id": "someone/clip", "revision": REVISION[::-1]}})
    assert fresh.planned("downloads") == {"fetch_model": 1, "downloads": 1}

    # which the hub has not; the model that was there stays
    failed = _download(fresh, server)
    assert failed.returncode != 0
    assert f"someone/clip has no commit {REVISION[::-1]}" in failed.stderr
    assert json.loads((fresh.folder / MODEL / "icsd-download.json").read_text()) == manifest
