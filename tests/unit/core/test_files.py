import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from icsd.core.files import atomic_path


def _all(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_appears_whole(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "new" / "a.txt") as unfinished:
        unfinished.write_text("part")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert (tmp_path / "new" / "a.txt").read_text() == "part"
    assert _all(tmp_path) == ["new", "new/a.txt"]


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.txt") as unfinished:
        unfinished.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert _all(tmp_path) == ["a.txt"]


def test_a_folder_replaces_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    with atomic_path(tmp_path / "model") as unfinished:
        unfinished.mkdir()
        (unfinished / "new").touch()
    assert _all(tmp_path) == ["model", "model/new"]


def test_a_failed_folder_leaves_the_old_one_alone(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "model") as unfinished:
        unfinished.mkdir()
        (unfinished / "new").touch()
        raise RuntimeError
    assert _all(tmp_path) == ["model", "model/old"]


KILLED = """
import sys, time
from icsd.core.files import atomic_path
with atomic_path(sys.argv[1]) as unfinished:
    if sys.argv[2] == "folder":
        unfinished.mkdir()
        unfinished /= "weights"
    unfinished.write_text("half")
    print("written", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_next_writer_clears_what_a_killed_one_left(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a[1].txt"
    path.write_text("old")
    command = [sys.executable, "-c", KILLED, str(path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_path(path) as unfinished:
        unfinished.write_text("new")
    assert path.read_text() == "new"
    assert _all(tmp_path) == ["a[1].txt"]


def test_files_of_like_names_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".a.txt.7.unfinished").touch()
    with atomic_path(tmp_path / "b.txt") as unfinished:
        unfinished.touch()
    assert _all(tmp_path) == [".a.txt.7.unfinished", "b.txt"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_of_two_writers_at_once_neither_spoils_the_other(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"

    def write(unfinished: Path, text: str) -> None:
        if kind == "folder":
            unfinished.mkdir()
            unfinished /= "weights"
        unfinished.write_text(text)

    with atomic_path(path) as first:
        write(first, "first")
        with atomic_path(path) as second:
            write(second, "second")
        assert first.exists()
    assert (path / "weights" if kind == "folder" else path).read_text() == "first"  # the last to end
    assert _all(tmp_path) == (["a", "a/weights"] if kind == "folder" else ["a"])


def test_a_folder_that_comes_back_is_replaced_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, others = Path.replace, iter([True, False])

    def another_is_quicker(self: Path, target: Path) -> Path:
        if next(others):
            target.mkdir()
            (target / "other").touch()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", another_is_quicker)
    with atomic_path(tmp_path / "a") as unfinished:
        unfinished.mkdir()
        (unfinished / "own").touch()
    assert _all(tmp_path) == ["a", "a/own"]


@pytest.mark.parametrize(("hours", "is_left"), [(1, True), (25, False)])
def test_what_another_machine_left_is_cleared_after_a_day(tmp_path: Path, hours: float, is_left: bool) -> None:
    left = tmp_path / ".a.txt.1234.elsewhere.example.7.unfinished"
    left.touch()
    written = time.time() - hours * 3600
    os.utime(left, (written, written))
    with atomic_path(tmp_path / "a.txt") as unfinished:
        unfinished.touch()
    assert left.exists() == is_left
