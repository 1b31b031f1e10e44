"""The line at the end of a run about the tests that did not run."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import skipped_line

ROOT = Path(__file__).parents[3]
TESTS = """
import pytest

@pytest.mark.skip(reason="pages in a browser: apt-get install chromium")
@pytest.mark.parametrize("number", range(2))
def test_page(number): ...

def test_real_data():
    pytest.skip("real data: no ../shared/data/coco.parquet")

def test_that_runs(): ...
"""
LINE = (
    "Not run: 2 tests of pages in a browser (apt-get install chromium); "
    "1 test of real data (no ../shared/data/coco.parquet)"
)


def test_skipped_tests_are_named_in_one_line_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "no:cacheprovider", "--noconftest"]
    command += ["-p", "tests.conftest", f"--rootdir={tmp_path}", str(tmp_path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in said if line.startswith("Not run")] == [LINE]


def test_nothing_is_said_where_all_tests_ran() -> None:
    assert skipped_line([]) == ""
