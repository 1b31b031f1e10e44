import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from icsd.core import lock as module
from icsd.core.lock import Process, living_owner, lock_file, locked, read_lock


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
