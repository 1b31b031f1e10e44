"""A lock on a file, also where several machines share a file system.

The lock is a file beside the locked one, `.<name>.lease`, that names its owner. `link` gives a name to one process
only, on network file systems too, where flock is unreliable. The owner touches the lock every few seconds. A process
that waits takes the lock over if its owner is known to be dead, or has not touched it for a minute by the waiter's own
clock, so that the machines' clocks need not agree. A lock file that nobody owns may be deleted.

A process is known by host, boot, pid and start: machines may share a name, and a pid lives again after a reboot. Where
a file system has no hard links, the lock is created directly, and is empty for a moment.
"""

import errno
import hashlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Self

from icsd.core.errors import InputError

LOCK = ".lease"
HEARTBEAT_S = 5.0
STALE_S = 60.0  # without a heartbeat; a network file system may show one half a minute late
POLL_S = 1.0
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Process:
    """A process of a machine; `boot` and `started` are None where a lock does not have them."""

    host: str
    pid: int
    boot: str | None = None
    started: int | None = None

    @classmethod
    def here(cls) -> Self:
        """Return this process."""
        return cls(socket.gethostname(), os.getpid(), boot_id(), _start_of(os.getpid()))

    @property
    def is_here(self) -> bool:
        """True if it is or was one of this machine since it booted; the pids of other machines say nothing."""
        return self.host == socket.gethostname() and self.boot in (None, boot_id())

    @property
    def is_dead(self) -> bool:
        """True if it is known to have ended; nothing is known about processes of other machines."""
        if not self.is_here:
            return False
        return not _is_alive(self.pid) or self.started not in (None, _start_of(self.pid))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@cache
def boot_id() -> str | None:
    """Return 8 digits that differ between machines, boots and containers; None if the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        pids = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None
    return hashlib.blake2b(f"{boot} {pids}".encode(), digest_size=4).hexdigest()


def _start_of(pid: int) -> int | None:
    """Return when the process started, in clock ticks since the boot; None if the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def _is_alive(pid: int) -> bool:
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
    return state != "Z"  # a zombie: ended, and its parent has not waited for it yet


NOBODY = Process("an unknown machine", 0)  # the owner of a lock that cannot be read
READ_CHARACTERS = 1000


@dataclass(frozen=True)
class LockState:
    """A lock as it was read: its owner, a token that no other lock has, and the time of the last heartbeat."""

    owner: Process
    token: str
    touched_ns: int


@contextmanager
def locked(path: Path | str) -> Iterator[str]:
    """Hold the lock of `path`, after waiting for its owner; yield the lock's token.

    A missing folder is created. InputError for a folder that cannot be written to.
    """
    file, token = lock_file(path), secrets.token_hex(8)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        while not _create(file, token):
            _wait_until_free(path)
    except OSError as error:
        problem = f"its lock {file.name} cannot be written ({error.strerror})"
        raise InputError(
            path, "", problem, "make its folder writable, or give another place for the results"
        ) from error
    released = threading.Event()
    heartbeat = threading.Thread(target=_beat, args=(file, token, released), daemon=True)
    heartbeat.start()
    try:
        yield token
    finally:
        released.set()
        heartbeat.join()
        if (state := read_lock(path)) and state.token == token:
            file.unlink(missing_ok=True)


def lock_file(path: Path | str) -> Path:
    """The file that is the lock of `path`."""
    path = Path(path)
    return path.with_name(f".{path.name}{LOCK}")


def read_lock(path: Path | str) -> LockState | None:
    """The lock of `path`; None if nobody holds it."""
    return _read(lock_file(path))


def locked_paths(folder: Path, pattern: str = "*") -> list[Path]:
    """The paths in a folder whose lock exists, with an owner who may be dead; `**/*` for those below it too."""
    pattern = pattern.removesuffix("*") + f".*{LOCK}"
    return [file.with_name(file.name[1 : -len(LOCK)]) for file in folder.glob(pattern)]


def living_owner(path: Path | str) -> Process | None:
    """The process that holds the lock of `path`, if it is alive; this takes up to a minute for another machine."""
    found = first_living_owner([path])
    return found[1] if found else None


def first_living_owner(paths: Iterable[Path | str]) -> tuple[Path, Process] | None:
    """One of the paths whose lock has a living owner, and that owner.

    Owners on other machines are watched together, for up to a minute in all.
    """
    held = {Path(path): state for path in paths if (state := read_lock(path)) and not state.owner.is_dead}
    for path, state in held.items():
        if state.owner.is_here:
            return path, state.owner
    since = time.monotonic()
    while held and time.monotonic() - since <= STALE_S:
        time.sleep(POLL_S)
        for path, state in list(held.items()):
            now = read_lock(path)
            if now is None:
                del held[path]
            elif now != state:
                return path, now.owner
    return None


def _wait_until_free(path: Path | str) -> None:
    """Return when nobody holds the lock of `path`; a dead owner's lock is removed."""
    state = read_lock(path)
    if state and not state.owner.is_dead:
        _log.info("%s works on %s: waiting for it", state.owner, path)
    while state:
        changed = _wait_for_change(path, state)
        if changed == state:
            _remove(lock_file(path), state)
            return
        state = changed


def _wait_for_change(path: Path | str, state: LockState) -> LockState | None:
    """The lock when it differs from `state`, None when it is gone; `state` itself if its owner is dead."""
    since = time.monotonic()
    while (now := read_lock(path)) == state:
        if state.owner.is_dead or time.monotonic() - since > STALE_S:
            return state
        time.sleep(POLL_S)
    return now


def _create(file: Path, token: str) -> bool:
    """Create the lock; False if there is one."""
    own, owner = file.with_name(f"{file.name}.{token}"), Process.here()
    content = json.dumps({"token": token, **asdict(owner)})
    try:
        own.write_text(content)
        file.hardlink_to(own)
    except FileExistsError:
        return own.stat().st_nlink == 2  # the network may have lost the answer to a link that succeeded
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _create_directly(file, content)
    finally:
        own.unlink(missing_ok=True)
    return True


def _create_directly(file: Path, content: str) -> bool:
    try:
        with file.open("x") as lock:
            lock.write(content)
    except FileExistsError:
        return False
    return True


def _read(file: Path) -> LockState | None:
    try:
        with file.open(
            encoding="utf-8", errors="replace"
        ) as opened:  # to open a file asks the server; stat may return a cached time
            text, touched_ns = opened.read(READ_CHARACTERS), os.fstat(opened.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    try:
        content = json.loads(text)
        owner = Process(str(content["host"]), int(content["pid"]), content.get("boot"), content.get("started"))
        return LockState(owner, content["token"], touched_ns)
    except (ValueError, KeyError, TypeError, AttributeError):  # cut short when the machine lost its power
        return LockState(NOBODY, f"unreadable: {text}", touched_ns)


def _beat(file: Path, token: str, released: threading.Event) -> None:
    while not released.wait(HEARTBEAT_S):
        try:
            state = _read(file)
            if state is None or state.token != token:
                _log.warning("%s was taken over: this process did not touch it for too long", file)
                return
            os.utime(file)
        except OSError as error:  # a server that is away for a moment
            _log.warning("%s cannot be touched: %s", file, error)


def _remove(file: Path, state: LockState) -> None:
    """Remove the lock if it is still `state`: another process that waited may have taken it over already."""
    aside = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        file.rename(aside)
    except FileNotFoundError:
        return
    found = _read(aside)
    if found and found.token != state.token:
        _put_back(aside, file)
    else:
        _log.info("%s is dead: its lock is taken over", state.owner)
    aside.unlink(missing_ok=True)


def _put_back(aside: Path, file: Path) -> None:
    try:
        file.hardlink_to(aside)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if not file.exists():
            aside.rename(file)
