"""The benchmark of the endpoint's clients, at a size that measures nothing."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "summaries.py"


@pytest.fixture(scope="module")
def benchmark() -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARK))


def test_all_methods_have_the_same_answers_and_a_line_of_the_table() -> None:
    command = [sys.executable, str(BENCHMARK), "--groups", "130", "--latency-ms", "2", "--concurrency", "48"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    methods = re.findall(r"^\| ([io].*?) +\|" + r" +([\d.]+) \|" * 5 + "$", done.stdout, re.MULTILINE)
    assert [name for name, *_ in methods] == [
        "icsd, from 32 to 48 at once", "icsd, 48 from the start", "original, batches of 100",
    ]  # fmt: skip
    assert float(methods[2][1]) > 2  # two batches, a pause after each
    assert re.search(r"^icsd is [\d.]+ times as fast", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("The answers are the same.\n")


def test_no_two_requests_are_alike(benchmark: dict[str, Any]) -> None:
    requests = benchmark["requests_of"](range(5000))
    assert len({request.key for request in requests}) == 5000


@pytest.mark.parametrize(
    ("latencies", "slots", "first", "seconds"),
    [([3, 1, 1, 1], 2, None, 3), ([1, 1, 1, 3], 2, None, 4), ([1, 2], 5, None, 2), ([1] * 4, 2, 1, 3), ([1], 2, 9, 1)],
)
def test_the_best_is_that_of_the_next_when_one_ends(
    benchmark: dict[str, Any], latencies: list[float], slots: int, first: int | None, seconds: float
) -> None:
    assert benchmark["best_s"](latencies, slots, first) == seconds
