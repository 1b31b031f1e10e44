"""The benchmark of the search for neighbours, at a size that measures nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "groups.py"


def test_both_searches_have_a_line_and_the_indexes_their_recall() -> None:
    pytest.importorskip("faiss", reason="approximate indexes: pip install icsd[faiss]", exc_type=ModuleNotFoundError)
    command = [sys.executable, str(BENCHMARK), "--captions", "800", "--dimensions", "32", "--k", "5", "--threads", "1"]
    done = subprocess.run([*command, "--approximate", "400"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    names = re.findall(r"^\| (\S+) .*\|", done.stdout, re.MULTILINE)
    rows = ["search", "faiss.IndexFlatIP", "icsd", "captions", "200", "400", "index", "ivf", "hnsw"]
    assert [name for name in names if name.strip("-:")] == rows
    assert re.search(r"^\d+ of 800 sets of neighbours are equal", done.stdout, re.MULTILINE)
