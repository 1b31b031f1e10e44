import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from icsd.core import lock as module
from icsd.core.errors import InputError
from icsd.core.files import atomic_path
from icsd.core.lock import (
    Process,
    boot_id,
    first_living_owner,
    living_owner,
    lock_file,
    locked,
    locked_paths,
    read_lock,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(module, "POLL_S", 0.02)
    monkeypatch.setattr(module, "STALE_S", 0.5)


def _left_by(path: Path, host: str, pid: int) -> Path:
    file = lock_file(path)
    file.write_text(json.dumps({"token": "left", "host": host, "pid": pid}))
    return file


def _dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_only_one_process_holds_the_lock(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        with locked(tmp_path / "new" / "a"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.05)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert list((tmp_path / "new").iterdir()) == []


def test_the_lock_is_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path / "a"):
        assert read_lock(tmp_path / "a")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_dead_owner_on_this_machine_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALE_S", 1e9)
    _left_by(tmp_path / "a", socket.gethostname(), _dead_pid())
    assert living_owner(tmp_path / "a") is None
    with locked(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    end = time.monotonic() + 60
    while not Process(socket.gethostname(), process.pid).is_dead and time.monotonic() < end:
        time.sleep(0.02)
    assert process.returncode is None  # nobody has waited for it
    process.wait()
    assert not Process.here().is_dead


def test_an_owner_on_another_machine_is_waited_for_while_it_touches_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALE_S", 2.0)
    file = _left_by(tmp_path / "a", "elsewhere", 1)
    entered = threading.Event()

    def wait() -> None:
        with locked(tmp_path / "a"):
            entered.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    for _ in range(15):  # longer than a stale lock is waited for
        time.sleep(0.2)
        os.utime(file)
    assert not entered.is_set()
    waiter.join(60)
    assert entered.is_set()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_third_process_that_was_quicker_is_put_back(tmp_path: Path) -> None:
    file = _left_by(tmp_path / "a", "elsewhere", 1)
    seen = read_lock(tmp_path / "a")
    assert seen
    file.write_text(json.dumps({"token": "third", "host": "elsewhere", "pid": 2}))
    module._remove(file, seen)
    found = read_lock(tmp_path / "a")
    assert found and found.token == "third"
    assert list(tmp_path.iterdir()) == [file]


def test_a_lost_lock_is_left_to_its_next_owner(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with locked(tmp_path / "a"):
        _left_by(tmp_path / "a", "elsewhere", 1)
        time.sleep(0.2)
    assert "was taken over" in caplog.text
    assert lock_file(tmp_path / "a").exists()


@pytest.mark.parametrize("content", ["", "{", '{"token": "left"', "[]", '{"host": 1}', "\x00" * 50, "null"])
def test_a_lock_that_cannot_be_read_is_taken_over(tmp_path: Path, content: str) -> None:
    """A machine that lost its power may leave an empty file."""
    lock_file(tmp_path / "a").write_text(content)
    assert living_owner(tmp_path / "a") is None
    with locked(tmp_path / "a"):
        assert read_lock(tmp_path / "a").owner == Process.here()
    assert list(tmp_path.iterdir()) == []


def _left_by_process(path: Path, **of_process: object) -> None:
    lock_file(path).write_text(json.dumps({"token": "left", **asdict(Process.here()), **of_process}))


@pytest.mark.parametrize(
    "changes", [{"boot": "0123abcd"}, {"started": 1}, {"host": "elsewhere"}], ids=["reboot", "pid", "host"]
)
def test_a_pid_that_lives_again_is_no_owner(tmp_path: Path, changes: dict[str, object]) -> None:
    """After a reboot, or a long time, another process has the pid."""
    _left_by_process(tmp_path / "a", **changes)
    assert living_owner(tmp_path / "a") is None
    with locked(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_another_machine_of_the_same_name_is_not_dead(tmp_path: Path) -> None:
    other = Process(socket.gethostname(), _dead_pid(), "0123abcd")
    assert not other.is_dead and not other.is_here
    assert Process(socket.gethostname(), other.pid, boot_id()).is_dead
    unfinished = tmp_path / f".a.0000.{other.host}~{other.boot}.{other.pid}.unfinished"
    unfinished.touch()
    with atomic_path(tmp_path / "a") as path:
        path.touch()
    assert unfinished.exists()


def test_a_file_system_without_hard_links_has_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    test_only_one_process_holds_the_lock(tmp_path / "1")
    _left_by(tmp_path / "b", socket.gethostname(), _dead_pid())
    with locked(tmp_path / "b"):
        assert not module._create(lock_file(tmp_path / "b"), "second")
    test_the_lock_of_a_third_process_that_was_quicker_is_put_back(tmp_path / "2")


def test_a_folder_that_cannot_be_written_to_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    with (
        pytest.raises(InputError, match=r"a: its lock \.a\.lease cannot be written \(Read-only file system\)"),
        locked(tmp_path / "a"),
    ):
        pass


def test_owners_on_other_machines_are_watched_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALE_S", 0.3)
    monkeypatch.setattr(module, "POLL_S", 0.05)
    files = [_left_by(tmp_path / name, "elsewhere", number) for number, name in enumerate(["a", "b", "c"], start=1)]
    paths = locked_paths(tmp_path)
    assert sorted(paths) == [tmp_path / name for name in ("a", "b", "c")]
    started = time.monotonic()
    assert first_living_owner(paths) is None
    assert time.monotonic() - started < 3 * module.STALE_S
    beat = threading.Timer(0.1, os.utime, [files[1]])
    beat.start()
    assert first_living_owner(paths) == (tmp_path / "b", Process("elsewhere", 2))
    beat.join()
