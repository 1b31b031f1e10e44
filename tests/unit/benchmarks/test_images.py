"""The benchmarks of drawing, at a size that measures nothing."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
# diffusers' DPM-Solver and NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _main(name: str) -> Any:
    return runpy.run_path(str(BENCHMARKS / name))["main"]


def test_both_methods_draw_the_same_and_have_a_line_of_the_table(
    stable_diffusion_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(stable_diffusion_folder), "--pictures", "5", "--batch-size", "2", "--steps", "2"]
    _main("images.py")(words)
    said = capsys.readouterr().out
    methods = re.findall(r"^\| ([ip].*?) +\|" + r" +([\d.]+) \|" * 5 + "$", said, re.MULTILINE)
    assert [name for name, *_ in methods] == ["plain loop", "icsd"]
    assert [float(method[-1]) for method in methods] == pytest.approx([0, 0], abs=0.01)
    assert re.search(r"^5 images of 2 steps in float32, batches of 2, on ", said, re.MULTILINE)
