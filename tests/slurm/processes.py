"""Processes of this machine, found by a mark in the environment that they were started with."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

DYING_WITH_US = ("setpriv", "--pdeathsig", "KILL")  # before a command: it ends when the process that started it does
INTERRUPTIBLE = ("env", "--default-signal=INT")  # the same: what a shell starts in the background hears no Ctrl-C
Mark = Mapping[str, str]  # variables of the environment and their values


def kill_all(*marks: Mark, within: Mark | None = None) -> None:
    """Kill every process that has one of the marks, and that of `within`, until none is left."""
    while found := [pid for pid in marked(*marks) if within is None or _has(pid, within)]:
        for pid in found:
            with suppress(ProcessLookupError):  # ended meanwhile
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def marked(*marks: Mark) -> Iterator[int]:
    """Ids of the processes that have one of the marks and are not dead."""
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if pid != os.getpid() and any(_has(pid, mark) for mark in marks):
            yield pid


def _has(pid: int, mark: Mark) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # ended meanwhile, or another user's
        return False
    return all(f"{key}={value}".encode() in environment for key, value in mark.items())
