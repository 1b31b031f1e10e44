"""`snakemake export` of a finished run, and docs/guide/export.md, followed word for word.

Only the run's name and the number of a picture are another's: the picture book takes minutes.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from checkout import OVERLAY, Checkout

from icsd.core import tables

PAGE = (Path(__file__).parents[2] / "docs/guide/export.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SNAKEMAKE = f"snakemake --configfile {OVERLAY} --cores 1"


@pytest.fixture(scope="module")
def exported(whole_run: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the whole run after the page's first command."""
    checkout = whole_run.copy(tmp_path_factory.mktemp("exported") / "icsd")
    checkout.edit("arms", ["multi", "real"])
    _type(checkout, _commands()[0])
    return checkout


def _commands() -> list[str]:
    return [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]


def _type(checkout: Checkout, command: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """In the checkout's folder, with what stands on the page for another run."""
    command = re.sub(r"^snakemake", SNAKEMAKE, command).replace("results/picturebook", "results/tiny")
    if command.startswith("icsd trace"):
        command += " --results results/tiny"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    environment["HF_HOME"] = str(checkout.folder / "huggingface")
    done = subprocess.run(
        ["bash", "-c", command], cwd=checkout.folder, env=environment, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done


def _pairs(checkout: Checkout) -> dict[str, list[str]]:
    """The manifest: a picture's captions by the ids."""
    found: dict[str, list[str]] = {}
    for row in tables.read(checkout.results / "dataset/multi/pairs.parquet", tables.PAIRS).to_pylist():
        found.setdefault(row["image_id"], []).append(row["caption"])
    return found


def test_the_page_has_the_commands_that_are_tested() -> None:
    assert [language for language, _ in BLOCKS] == ["bash", *["python"] * 3, *["bash"] * 3]
    assert [command.split()[0] for command in _commands()] == ["snakemake", "icsd", *["icsd"] * 4, "hf", "hf"]
    keys = re.findall(r"^- `export\.(\w+):", PAGE, re.MULTILINE)
    assert sorted(keys) == ["arms", "formats", "licences"]


def test_every_folder_on_the_page_is_there_and_no_other(exported: Checkout) -> None:
    folders = re.findall(r"^\| `(multi/[\w-]+)/` \|", PAGE, re.MULTILINE)
    found = [path.relative_to(exported.results / "export") for path in (exported.results / "export").glob("*/*")]
    assert sorted(map(str, found)) == sorted(folders)  # none of the arm real
    assert all((exported.results / "export" / folder / "README.md").exists() for folder in folders)
    assert exported.planned("export") == {}


def test_every_exported_table_is_one_of_the_project(exported: Checkout) -> None:
    files = list((exported.results / "export").rglob("*.parquet"))
    assert files and all(b"icsd" in pq.read_schema(path).metadata for path in files)


@pytest.mark.parametrize("number", range(3), ids=["datasets", "webdataset", "pycocotools"])
def test_the_pages_python_reads_what_the_manifest_has(exported: Checkout, number: int) -> None:
    code = [text for language, text in BLOCKS if language == "python"][number]
    (exported.folder / "page.py").write_text(code.replace("results/picturebook", "results/tiny"))
    said = _type(exported, "python page.py").stdout
    pairs = _pairs(exported)
    if number == 0:
        assert any(f"(16, 16) {captions}" in said for captions in pairs.values())
    elif number == 1:
        assert sorted(said.splitlines()) == sorted(f"{each} (16, 16) {captions}" for each, captions in pairs.items())
    else:
        lines = said.splitlines()[-len(pairs) :]
        assert sorted(lines) == sorted(f"{each}.png {captions}" for each, captions in pairs.items())


def test_the_pages_caption_command_captions_each_picture(exported: Checkout) -> None:
    (command,) = [each for each in _commands() if each.startswith("icsd caption")]
    lines = [line.split("\t") for line in _type(exported, command).stdout.splitlines()]
    assert sorted(Path(path).stem for path, _ in lines) == sorted(_pairs(exported))


def test_the_pages_traces_lead_both_ways(exported: Checkout) -> None:
    number = sorted(_pairs(exported))[0].removeprefix("multi-")
    said = [
        _type(exported, each.replace("700", number)).stdout for each in _commands() if each.startswith("icsd trace")
    ]
    image, group, caption, both = said
    assert "captioner multi/seed-0" in image and "prompt" in image and "seed" in image
    assert f"image     multi-{number}" in group and "selected" in group
    assert f"group     {number}: selected, as its anchor (1.000)" in caption
    assert '"caption": {' in both and '"group": {' in both


def test_the_pages_upload_is_understood_by_hf_and_stops_for_want_of_a_network(exported: Checkout) -> None:
    for command in _commands():
        if command.startswith("hf "):
            said = _type(exported, command, status=1)
            assert "offline mode is enabled" in said.stdout + said.stderr
            assert (exported.folder / command.split()[3].replace("picturebook", "tiny")).is_dir()


def test_a_shard_that_is_missing_is_named_and_made_anew(exported: Checkout, tmp_path: Path) -> None:
    checkout = exported.copy(tmp_path / "icsd")
    before = (checkout.results / "export/multi/huggingface/data/train-00000-of-00001.parquet").read_bytes()
    (checkout.results / "images/multi/0000-of-0001.parquet").unlink()
    checkout.remove("export")
    said = checkout.run("--dry-run", "export").stdout
    assert "Missing output files: results/tiny/images/multi/0000-of-0001.parquet" in said
    checkout.run("export")
    assert (checkout.results / "export/multi/huggingface/data/train-00000-of-00001.parquet").read_bytes() == before


def test_export_is_no_part_of_a_plain_run(fresh: Checkout) -> None:
    assert not {"export", "export_dataset", "export_captioner"} & set(fresh.planned())
    fresh.edit("export", {"formats": ["coco"], "arms": ["real"]})
    planned = fresh.planned("export")
    assert (planned["export_dataset"], planned["export_captioner"]) == (1, 1)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("export.arms", ["single", "mutli"], "export.arms"),
        ("export.formats", ["csv"], "export.formats"),
        ("export.licences", {"tiny": "Apache 2"}, "export.licences.tiny='Apache 2'"),
        ("export.licence", "mit", "did you mean export.licences?"),
    ],
)
def test_a_mistyped_key_is_one_message(fresh: Checkout, key: str, value: object, said: str) -> None:
    fresh.edit(key, value)
    failed = fresh.snakemake("--dry-run", "export")
    assert failed.returncode != 0 and said in failed.stderr + failed.stdout


def test_an_arm_that_is_not_trained_cannot_be_exported(check_out: Callable[[Path], Checkout], tmp_path: Path) -> None:
    checkout = check_out(tmp_path / "icsd")
    checkout.edit("arms", ["multi"])
    checkout.edit("export.arms", ["single"])
    failed = checkout.snakemake("--dry-run", "export")
    assert failed.returncode != 0 and "single is not among arms=['multi']" in failed.stderr + failed.stdout
