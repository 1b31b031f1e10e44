"""Jobs run in a process of their own, as Snakemake runs them: job_log sets up logging for the whole process."""

import subprocess
import sys
from pathlib import Path

import pytest

from icsd.core.logs import job_name, progress, progress_line, transfer_line

JOB = """
import logging, sys, warnings
from icsd.core.errors import InputError
from icsd.core.logs import job_log, progress
with job_log(sys.argv[1]):
    {body}
"""
BAD_INPUT = "raise InputError('a.json', 'annotations[3]', 'has no id', 'give it one')"


def _run(log: Path, body: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", JOB.format(body=body), str(log)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "results" / "logs" / "embed_captions" / "0000-of-0001.log"


def test_what_can_be_mended_is_one_message_without_a_traceback(log: Path) -> None:
    done = _run(log, BAD_INPUT)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "[embed_captions/0000-of-0001] ERROR: a.json, annotations[3]: has no id; give it one\n"
    (line,) = log.read_text().splitlines()
    assert line.endswith(" ERROR a.json, annotations[3]: has no id; give it one")


def test_another_error_has_its_traceback_in_the_log_alone(log: Path) -> None:
    done = _run(log, "[][7]")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == (
        f"[embed_captions/0000-of-0001] ERROR: IndexError: list index out of range (a traceback is in {log})"
    )
    assert "Traceback (most recent call last)" in log.read_text()
    assert log.read_text().endswith("IndexError: list index out of range\n")


def test_an_interrupted_job_says_how_to_continue(log: Path) -> None:
    done = _run(log, "raise KeyboardInterrupt")
    assert done.returncode == 130
    (line,) = done.stderr.splitlines()
    assert line.endswith("ERROR: interrupted: what is finished is kept; type the same command again to continue")
    assert "Traceback" not in log.read_text()


def test_a_text_from_outside_forges_no_line_and_controls_no_terminal(log: Path) -> None:
    text = r"a dog\n2026-01-01 00:00:00 ERROR forged\x1b[2J\x9b\u202e\ud800"
    done = _run(log, f"logging.getLogger('icsd').warning('%s', '{text}'); raise ValueError('{text}')")
    for shown in (done.stderr, log.read_text()):
        assert not {*"\x1b\x9b\u202e"} & {*shown} and "\\u001b[2J\\u009b\\u202e\\ud800" in shown
        assert not [line for line in shown.splitlines() if line.startswith(("2026-01-01", "ERROR"))]
    assert "--- Logging error ---" not in done.stderr


def test_a_log_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "results").touch()
    done = _run(tmp_path / "results" / "logs" / "job.log", "pass")
    assert done.returncode == 1
    assert done.stderr.startswith("[job] ERROR: ") and done.stderr.count("\n") == 1
    assert "cannot be written (Not a directory); make its folder writable" in done.stderr


def test_progress_stands_in_the_log_and_on_the_terminal(log: Path) -> None:
    done = _run(log, "list(progress(range(3), 3, 'pictures'))")
    assert done.returncode == 0
    assert "[embed_captions/0000-of-0001] pictures: 3 of 3, " in done.stderr
    assert " INFO pictures: 3 of 3, " in log.read_text()


def test_a_warning_stands_out_and_what_libraries_say_is_left_out(log: Path) -> None:
    said = "logging.info('x'); logging.getLogger('httpx').info('y'); warnings.warn('slow')"
    stderr = _run(log, said).stderr
    assert stderr.startswith("[embed_captions/0000-of-0001] WARNING: ")
    assert "UserWarning: slow" in stderr
    assert len([line for line in stderr.splitlines() if line.startswith("[")]) == 1
    assert "slow" in log.read_text()


def test_a_rerun_writes_its_log_anew(log: Path) -> None:
    _run(log, BAD_INPUT)
    _run(log, "pass")
    assert log.read_text() == ""


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("results/run/logs/read_captions.log", "read_captions"),
        ("results/run/logs/generate_images/multi/0001-of-0004.log", "generate_images/multi/0001-of-0004"),
        ("/logs/results/run/logs/build_dataset/multi.log", "build_dataset/multi"),
        ("elsewhere/job.log", "job"),
    ],
)
def test_a_job_is_named_after_its_log(path: str, name: str) -> None:
    assert job_name(Path(path)) == name


@pytest.mark.parametrize(
    ("done", "seconds", "line"),
    [
        (120, 8.0, "images: 120 of 1,200, 15.0 a second, 72 s left"),
        (1_200, 80.0, "images: 1,200 of 1,200, 15.0 a second, 80 s in all"),
        (0, 1.0, "images: 0 of 1,200, 0.0 a second"),
        (0, 0.0, "images: 0 of 1,200, 0.0 a second"),
    ],
)
def test_progress_tells_how_many_and_how_long(done: int, seconds: float, line: str) -> None:
    assert progress_line("images", done, 1_200, seconds) == line


def test_progress_hands_every_item_on() -> None:
    assert list(progress("abc", 3, "letters")) == ["a", "b", "c"]
    assert list(progress([], 0, "letters")) == []


@pytest.mark.parametrize(
    ("done", "total", "received", "line"),
    [
        (1_200_000_000, 6_650_000_000, 1_000_000_000, "a.zip: 1.20 GB of 6.65 GB, 50.0 MB/s, 109 s left"),
        (1_200_000, None, 1_200_000, "a.zip: 1.20 MB, 0.1 MB/s"),
        (900, 900, 0, "a.zip: 900 bytes of 900 bytes, 0.0 MB/s"),
    ],
)
def test_a_transfer_tells_bytes_rate_and_time(done: int, total: int | None, received: int, line: str) -> None:
    """Bytes of an earlier try do not count for the rate."""
    assert transfer_line("a.zip", done, total, received, 20.0) == line
