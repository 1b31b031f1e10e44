"""Training on the pairs of another run: which tables it reads, and what is said where they are not there."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import SNAKEMAKE, offline

ROOT = Path(__file__).parents[2]
IMAGES = "results/other/images/multi"
TABLES = [f"{IMAGES}/0000-of-0001.parquet", f"{IMAGES}/candidate-1/0000-of-0001.parquet"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with the tables of a finished run `other`, which has candidates; they are empty files."""
    for name in ("Snakefile", "rules", "scripts", "profiles", "resources", "report", "envs"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    others = [f"{IMAGES}/sentences.parquet", "results/other/pictures/real/images.parquet"]
    pairs = [f"results/other/dataset/{arm}/pairs.parquet" for arm in ("multi_head", "real", "single")]
    for name in (*TABLES, *others, *pairs):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def _plan(folder: Path, arm: str) -> subprocess.CompletedProcess[str]:
    captioner = f"captioner={{also: [results/other/dataset/{arm}]}}"
    command = [SNAKEMAKE, "--dry-run", "--cores", "1", "results/mine/captioner/multi/seed-0/history.parquet"]
    return subprocess.run(
        [*command, "--config", "run=mine", "arms=[multi]", captioner], cwd=folder, env=offline(os.environ),
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def test_a_training_reads_the_images_of_the_arm_that_drew_them(folder: Path) -> None:
    planned = _plan(folder, "multi_head")
    assert planned.returncode == 0, planned.stderr
    rule = planned.stdout.partition("rule train_captioner:")[2]
    inputs = rule.partition("input: ")[2].partition("\n")[0].split(", ")
    assert {name for name in inputs if name.startswith("results/other")} == {
        "results/other/dataset/multi_head/pairs.parquet", *TABLES
    }  # fmt: skip


def test_a_dataset_without_images_is_one_message(folder: Path) -> None:
    planned = _plan(folder, "single")
    assert planned.returncode != 0
    hint = "finish the run other first, or name another folder results/<run>/dataset/<arm>"
    assert f"results/other/dataset/single: there are no pairs with images; {hint}" in planned.stdout + planned.stderr
