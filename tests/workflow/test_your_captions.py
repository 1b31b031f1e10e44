"""docs/guide/your-captions.md, followed word for word."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKED_OUT = ("rules", "scripts", "envs", "config", "profiles")
PAGE = (ROOT / "docs/guide/your-captions.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which nothing has run, the picture book's models included."""
    for name in CHECKED_OUT:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "Snakefile", tmp_path)
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    return tmp_path


def _type(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_page_can_be_followed_word_for_word(checkout: Path) -> None:
    blocks = BLOCK.findall(PAGE)
    assert [language for language, _ in blocks] == ["text", "yaml", "bash", "text", "bash", "bash", "yaml"]
    (_, captions), (_, overlay), (_, commands), (_, summaries) = blocks[:4]  # the others are for models of the world
    (checkout / "captions.txt").write_text(captions, encoding="utf-8")
    assert len(overlay.splitlines()) == 5
    assert (checkout / "config/runs/captions.yaml").read_text(encoding="utf-8") == overlay

    plan, run, look = commands.splitlines()
    assert "summarize_groups" in _type(plan, checkout).stdout
    assert not (checkout / "results").exists()
    _type(run, checkout)
    assert _type(look, checkout).stdout == summaries
    folders = re.findall(r"^\| `(\w+)/` \|", PAGE, re.MULTILINE)
    assert len(folders) == 4
    assert all(list((checkout / "results/captions" / folder).glob("*.parquet")) for folder in folders)


def test_every_layout_is_on_the_page() -> None:
    from icsd.corpora.layouts import NAMES

    table = PAGE.split("## Layouts")[1]
    assert all(f"`{name}`" in table for name in NAMES if name != "auto")
