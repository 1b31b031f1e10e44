"""docs/guide/module.md, followed word for word: another workflow, in another folder, takes this one as a module."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guide/module.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
CAPTIONS = "a red boat on the sea\na red boat beside a yellow ball\na yellow ball on the sea\na blue cup in a room\n"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The other workflow's folder, with the checkout in it."""
    (tmp_path / "icsd").symlink_to(ROOT)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(BLOCKS["yaml"], encoding="utf-8")
    (tmp_path / "Snakefile").write_text(BLOCKS["python"], encoding="utf-8")
    (tmp_path / "captions.txt").write_text(CAPTIONS, encoding="utf-8")
    return tmp_path


def _type(command: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_another_workflow_makes_what_it_asks_of_this_one(other: Path) -> None:
    run, plan = BLOCKS["sh"].splitlines()
    _type(run, other)
    sentences = (other / "sentences.txt").read_text(encoding="utf-8")
    assert "red boat" in sentences
    assert "Nothing to be done" in _type(run, other)
    assert not any((other / name).exists() for name in ("resources", "config/prompts"))

    planned = _type(plan, other)
    assert all(f"icsd_{rule} " in planned for rule in ("generate_images", "train_captioner", "collect_scores"))
    assert "icsd_embed_captions " not in planned

    prompts = other / "config/prompts"
    prompts.mkdir()
    for suffix in (".txt", ".yaml"):
        prompt = (ROOT / "config/prompts/paper").with_suffix(suffix).read_text(encoding="utf-8")
        (prompts / "paper").with_suffix(suffix).write_text(prompt, encoding="utf-8")
    assert "Updated input files: config/prompts/paper" in _type(f"{run} --dry-run", other)
