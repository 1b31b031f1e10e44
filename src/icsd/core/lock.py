"""A lease: one process at a time works on a file, also where several machines share a file system.

It is a file beside the one that is worked on, `.<name>.lease`, with its holder in it. `link` gives a name to one
process only, on network file systems too, which keep locks badly. The holder touches it every few seconds. Whoever
waits takes it over from a holder that is known to be dead, or that has not touched it for a minute, by the waiter's own
clock: the machines' clocks need not agree. Deleting a lease that nobody holds is safe.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Holder:
    """A process of a machine."""

    host: str
    pid: int

    @classmethod
    def here(cls) -> Self:
        """This process."""
        return cls(socket.gethostname(), os.getpid())

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended; of another machine's processes nothing is known."""
        return self.host == socket.gethostname() and not _lives(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it has just ended, or the system has no /proc
        return not Path("/proc/self").exists()
    return state != "Z"  # ended, and not yet asked for by its parent


BEAT_S = 5.0  # between two touches
DEAD_S = 60.0  # without a touch; a network file system may show one half a minute late
LOOK_S = 1.0  # between two looks of one who waits
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """A lease as it was seen: whose it is, a word that no other has, and when it was touched."""

    holder: Holder
    token: str
    touched_ns: int


@contextmanager
def lease(path: Path | str) -> Iterator[str]:
    """Hold the lease of `path` while inside, after waiting for whoever holds it; gives the lease's own word.

    Its folder is made where it is missing.
    """
    file, token = lease_file(path), secrets.token_hex(8)
    file.parent.mkdir(parents=True, exist_ok=True)
    while not _take(file, token):
        wait_for(path)
    ended = threading.Event()
    beats = threading.Thread(target=_beat, args=(file, token, ended), daemon=True)
    beats.start()
    try:
        yield token
    finally:
        ended.set()
        beats.join()
        if (seen := look(path)) and seen.token == token:
            file.unlink(missing_ok=True)


def lease_file(path: Path | str) -> Path:
    """Where the lease of `path` is."""
    path = Path(path)
    return path.with_name(f".{path.name}.lease")


def look(path: Path | str) -> Seen | None:
    """The lease of `path`; None where nobody has one."""
    return _read(lease_file(path))


def living_holder(path: Path | str) -> Holder | None:
    """Who holds the lease of `path`, and is alive: of another machine's holder that takes a minute to see."""
    first, since = look(path), time.monotonic()
    if first is None or first.holder.is_dead:
        return None
    if first.holder.host == Holder.here().host:
        return first.holder
    while (seen := look(path)) == first:
        if time.monotonic() - since > DEAD_S:
            return None
        time.sleep(LOOK_S)
    return seen.holder if seen else None


def wait_for(path: Path | str) -> None:
    """Return when nobody holds the lease of `path`; one whose holder is dead is put away."""
    last, since = look(path), time.monotonic()
    if last and not last.holder.is_dead:
        _log.info("%s works on %s: waiting for it", last.holder, path)
    while seen := look(path):
        if seen != last:
            last, since = seen, time.monotonic()
        if seen.holder.is_dead or time.monotonic() - since > DEAD_S:
            _put_away(lease_file(path), seen)
            return
        time.sleep(LOOK_S)


def _take(file: Path, token: str) -> bool:
    """Make the lease; False if there is one."""
    own, holder = file.with_name(f"{file.name}.{token}"), Holder.here()
    own.write_text(json.dumps({"token": token, "host": holder.host, "pid": holder.pid}))
    try:
        file.hardlink_to(own)
    except FileExistsError:
        return own.stat().st_nlink == 2  # the answer to a link that succeeded may have been lost on the network
    finally:
        own.unlink()
    return True


def _read(file: Path) -> Seen | None:
    try:
        with file.open() as opened:  # opening asks the server anew, where stat may tell what it was half a minute ago
            said, touched_ns = json.load(opened), os.fstat(opened.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    return Seen(Holder(said["host"], said["pid"]), said["token"], touched_ns)


def _beat(file: Path, token: str, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        try:
            seen = _read(file)
            if seen is None or seen.token != token:
                _log.warning("%s was taken over: this process did not touch it for too long", file)
                return
            os.utime(file)
        except OSError as error:  # a server that is away for a moment
            _log.warning("%s cannot be touched: %s", file, error)


def _put_away(file: Path, seen: Seen) -> None:
    """Remove the lease `seen`, and no other: of two who wait, one may have taken it over already."""
    aside = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        file.rename(aside)
    except FileNotFoundError:
        return
    found = _read(aside)
    if found and found.token != seen.token:
        file.hardlink_to(aside)
    else:
        _log.info("%s no longer works on it: its lease is taken over", seen.holder)
    aside.unlink()
