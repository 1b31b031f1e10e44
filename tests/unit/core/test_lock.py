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
from icsd.core.lock import Holder, lease, lease_file, living_holder, look


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.05)
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    monkeypatch.setattr(module, "DEAD_S", 0.5)


def _left_by(path: Path, host: str, pid: int) -> Path:
    file = lease_file(path)
    file.write_text(json.dumps({"token": "left", "host": host, "pid": pid}))
    return file


def _dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_only_one_holds_it_at_a_time(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        with lease(tmp_path / "new" / "a"):
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


def test_it_is_let_go_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), lease(tmp_path / "a"):
        assert look(tmp_path / "a")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_dead_holder_of_this_machine_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEAD_S", 1e9)
    _left_by(tmp_path / "a", socket.gethostname(), _dead_pid())
    assert living_holder(tmp_path / "a") is None
    with lease(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    end = time.monotonic() + 60
    while not Holder(socket.gethostname(), process.pid).is_dead and time.monotonic() < end:
        time.sleep(0.02)
    assert process.returncode is None  # nobody has asked for it
    process.wait()
    assert not Holder.here().is_dead


def test_a_holder_of_another_machine_is_waited_for_while_it_touches_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEAD_S", 2.0)
    file = _left_by(tmp_path / "a", "elsewhere", 1)
    entered = threading.Event()

    def wait() -> None:
        with lease(tmp_path / "a"):
            entered.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    for _ in range(15):  # for longer than one that is dead is waited for
        time.sleep(0.2)
        os.utime(file)
    assert not entered.is_set()
    waiter.join(60)
    assert entered.is_set()
    assert list(tmp_path.iterdir()) == []


def test_the_lease_of_a_third_who_was_quicker_is_put_back(tmp_path: Path) -> None:
    file = _left_by(tmp_path / "a", "elsewhere", 1)
    seen = look(tmp_path / "a")
    assert seen
    file.write_text(json.dumps({"token": "third", "host": "elsewhere", "pid": 2}))
    module._put_away(file, seen)
    found = look(tmp_path / "a")
    assert found and found.token == "third"
    assert list(tmp_path.iterdir()) == [file]


def test_who_has_lost_it_leaves_the_next_holders_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with lease(tmp_path / "a"):
        _left_by(tmp_path / "a", "elsewhere", 1)
        time.sleep(0.2)
    assert "was taken over" in caplog.text
    assert lease_file(tmp_path / "a").exists()
