"""`make benchmark NAME=…` runs a script of benchmarks/, and names them all where it gets no such name."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))


def _make(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "benchmark", *arguments, "--dry-run"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_script_and_arguments_go_to_it(name: str) -> None:
    done = _make(f"NAME={name}", "ARGS=--help")
    assert done.returncode == 0 and f"python benchmarks/{name}.py --help" in done.stdout


@pytest.mark.parametrize("given", [[], ["NAME=gruops"]])
def test_without_a_known_name_all_names_are_listed(given: list[str]) -> None:
    done = _make(*given)
    assert done.returncode != 0 and done.stdout == ""
    assert all(name in done.stderr for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
