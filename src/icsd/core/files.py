"""Files written whole or not at all, and SHA-256 of files."""

import errno
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from icsd.core.errors import DiskFullError
from icsd.core.lock import Process

UNFINISHED = ".unfinished"
TEMPORARY = re.compile(r"\.(.+?)\.[0-9a-f]{8}\..+\.\d+" + re.escape(UNFINISHED))  # as `_temporary_name` writes it
ABANDONED_S = 86_400.0
REPLACED = {errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR}  # another writer has put a folder there in the meantime
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # the disk, the user's share of it, a limit of the file system


@contextmanager
def room_for(path: Path | str) -> Iterator[None]:
    """Turn the error of a write that finds no room into a DiskFullError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFullError(path, os.strerror(error.errno)) from error


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a path beside `path` for a file or folder; it is renamed to `path` on success and deleted on failure.

    A missing parent folder is created, and a folder at `path` is replaced. Each writer has its own temporary name: of
    several writers, on several machines, the last one to finish wins. What killed writers left is deleted.
    DiskFullError if there is no room.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.glob(f".{glob.escape(path.name)}.*{UNFINISHED}"):
        if _is_abandoned(other, path.name):
            remove(other)
    unfinished = _temporary_name(path)
    try:
        with room_for(path):
            yield unfinished
        _put(unfinished, path)
    finally:
        remove(unfinished)


@contextmanager
def reserved_room(folder: Path, size: int) -> Iterator[Callable[[], None]]:
    """Occupy `size` bytes of the disk for what must still be written when it is full.

    Yield the function that frees them. DiskFullError if there is no room for them.
    """
    path = folder / "room"
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.glob(f".{path.name}.*{UNFINISHED}"):
        if _is_abandoned(other, path.name):
            remove(other)
    own = _temporary_name(path)
    try:
        with room_for(path), own.open("xb", buffering=0) as file:
            write_all(file, os.urandom(size))  # some file systems store zeros in no room
            os.fsync(file.fileno())
        yield lambda: own.unlink(missing_ok=True)
    finally:
        own.unlink(missing_ok=True)


def _temporary_name(path: Path) -> Path:
    """A unique name beside `path` that names its writer."""
    here = Process.here()
    writer = f"{here.host}~{here.boot}.{here.pid}" if here.boot else f"{here.host}.{here.pid}"
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{writer}{UNFINISHED}")


def _is_abandoned(unfinished: Path, name: str) -> bool:
    """Return whether its writer is dead, or is on another machine and has not written for a day."""
    host, _, pid = unfinished.name[len(f".{name}.") : -len(UNFINISHED)].partition(".")[2].rpartition(".")
    host, _, boot = host.partition("~")
    if pid.isdecimal() and Process(host, int(pid), boot or None).is_dead:
        return True
    try:
        return time.time() - _last_write(unfinished) > ABANDONED_S
    except FileNotFoundError:
        return False  # just renamed or deleted by its writer


def abandoned_paths(folder: Path) -> list[Path]:
    """The unfinished files and folders below a folder whose writers were killed."""
    found = list[Path]()
    for path in sorted(folder.rglob(f".*{UNFINISHED}")):
        name = TEMPORARY.fullmatch(path.name)
        inside_another = any(other in path.parents for other in found)
        if name and not inside_another and _is_abandoned(path, name[1]):
            found.append(path)
    return found


def _last_write(path: Path) -> float:
    """Time of the last write to the file, or to any file in the folder."""
    return max(found.stat().st_mtime for found in [path, *path.rglob("*")])


def _put(unfinished: Path, path: Path) -> None:
    """Rename over a file or folder, also while another writer does the same."""
    while True:
        if path.is_dir():
            old = _temporary_name(path)
            with suppress(FileNotFoundError):
                path.rename(old)
            remove(old)
        try:
            unfinished.replace(path)
        except OSError as error:
            if error.errno not in REPLACED:
                raise
        else:
            return


def new_file(path: Path) -> BinaryIO:
    """Create a file in an existing folder and open it for bytes; its name outlives a crash."""
    file = path.open("xb")
    sync_folder(path.parent)
    return file


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder outlive a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write `data` without the file's buffer: closing the file would try again to write what found no room."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file.fileno(), rest) :]


def read_regular(path: Path, limit: int) -> bytes:
    """Read a file from outside; OSError for a device, a pipe or a folder, and for more than `limit` bytes.

    A pipe would wait for a writer that does not come, and some devices have no end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"{status.st_size:,} bytes, more than {limit:,}", str(path))
        return file.read(limit)


def remove(path: Path) -> None:
    """Delete a file or a folder; a file may be missing."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


LARGE_BYTES = 2**20
SETTLED_S = 60.0  # a file that changed later may change again within one tick of the file system's clock


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class FileDigests:
    """SHA-256 of files; those of large files are cached, so that a thousand jobs do not all read the same weights.

    The JSON file `cache` need not exist, and may be deleted. A file is taken as unchanged while its path, size, inode
    and times of modification and change are the same; no tool sets back the last one. When two jobs write the cache at
    once, one entry is lost, and that file is read once more.
    """

    cache: Path

    def sha256(self, path: Path) -> str:
        """SHA-256 of a file's content."""
        before = path.stat()
        if before.st_size < LARGE_BYTES:
            return file_sha256(path)
        name, stamp = str(path.resolve()), _stamp(before)
        cached_stamp, digest = self._read().get(name, (None, ""))
        if cached_stamp == stamp:
            return digest
        digest = file_sha256(path)
        if _stamp(path.stat()) == stamp and time.time() - max(before.st_mtime, before.st_ctime) > SETTLED_S:
            self._add(name, stamp, digest)
        return digest

    def _read(self) -> dict[str, Any]:
        try:
            cached = json.loads(self.cache.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return cached if isinstance(cached, dict) else {}

    def _add(self, name: str, stamp: list[int], digest: str) -> None:
        with atomic_path(self.cache) as unfinished:
            unfinished.write_text(json.dumps(self._read() | {name: [stamp, digest]}), encoding="utf-8")


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
