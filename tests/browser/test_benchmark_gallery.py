"""The benchmark of the gallery, at a size that measures nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gallery.py"


@pytest.mark.skipif(not CHROMIUM.exists(), reason="pages in a browser: apt-get install chromium")
def test_writing_looking_and_memory_have_their_lines() -> None:
    command = [sys.executable, str(BENCHMARK), "--pictures", "2000"]  # enough pages to turn
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = dict(re.findall(r"^\| (.+?) +\| +([\d.,]+) \|", done.stdout, re.MULTILINE))
    assert len(found) == 14
    assert all(float(number.replace(",", "")) > 0 for number in found.values())
