"""SHA-256 of files; of large ones remembered, so that a thousand jobs do not read the same weights a thousand times."""

import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from icsd.core import files
from icsd.core.errors import DiskFullError
from icsd.core.lock import Holder

UNFINISHED = ".unfinished"
ABANDONED_S = 86_400.0
THERE_AGAIN = {errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR}  # another writer's folder, since this one's was put away
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # the disk, the user's share of it, a limit of the file system


@contextmanager
def room_for(path: Path | str) -> Iterator[None]:
    """DiskFullError, which names `path`, where a write inside finds no room."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFullError(path, os.strerror(error.errno)) from error


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A path beside `path` to write a file or folder to; renamed to `path` on success, deleted on failure.

    The folder is made where it is missing. A folder that stands at `path` is replaced. Each writer has a name of its
    own: of several, on several machines, the last to end has its whole file there. What a killed one left is deleted.
    DiskFullError where there is no room.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{UNFINISHED}"):
        if _is_left(left, path.name):
            _remove(left)
    unfinished = _own(path)
    try:
        with room_for(path):
            yield unfinished
        _put(unfinished, path)
    finally:
        _remove(unfinished)


def _own(path: Path) -> Path:
    """A name beside `path` that nobody else has, and that tells whose it is."""
    here = Holder.here()
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{here.host}.{here.pid}{UNFINISHED}")


def _is_left(unfinished: Path, name: str) -> bool:
    """Whether nobody writes to it: its writer is dead, or, on another machine, has not touched it for a day."""
    host, _, pid = unfinished.name[len(f".{name}.") : -len(UNFINISHED)].partition(".")[2].rpartition(".")
    if pid.isdecimal() and Holder(host, int(pid)).is_dead:
        return True
    try:
        return time.time() - _touched(unfinished) > ABANDONED_S
    except FileNotFoundError:
        return False  # just renamed or deleted by its writer


def _touched(path: Path) -> float:
    """When something was last written, of a folder in any file below it."""
    return max(found.stat().st_mtime for found in [path, *path.rglob("*")])


def _put(unfinished: Path, path: Path) -> None:
    """Rename, over a file or folder that is there; another writer may do the same at this moment."""
    while True:
        if path.is_dir():
            old = _own(path)
            with suppress(FileNotFoundError):
                path.rename(old)
            _remove(old)
        try:
            unfinished.replace(path)
        except OSError as error:
            if error.errno not in THERE_AGAIN:
                raise
        else:
            return


def new_file(path: Path) -> BinaryIO:
    """A new file in a folder that is there, to write bytes to; its name outlives a crash."""
    file = path.open("xb")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return file


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write `data` past the file's buffer, so that what found no room is not tried again when the file is closed."""
    left = memoryview(data)
    while left:
        left = left[os.write(file.fileno(), left) :]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


LARGE_BYTES = 2**20
SETTLED_S = 60.0  # a file that changed since may change again within one tick of the file system's clock


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class FileDigests:
    """What is remembered in the JSON file `memory`, which need not exist. Deleting it is safe.

    A file is the same one as long as its path, size, inode, and times of modification and change are; the last of
    these no tool sets back. Of two jobs that write at once, one is forgotten: its files are read once more.
    """

    memory: Path

    def sha256(self, path: Path) -> str:
        """SHA-256 of a file's content."""
        before = path.stat()
        if before.st_size < LARGE_BYTES:
            return file_sha256(path)
        name, stamp = str(path.resolve()), _stamp(before)
        stamped, digest = self._known().get(name, (None, ""))
        if stamped == stamp:
            return digest
        digest = file_sha256(path)
        if _stamp(path.stat()) == stamp and time.time() - max(before.st_mtime, before.st_ctime) > SETTLED_S:
            self._remember(name, stamp, digest)
        return digest

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads(self.memory.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _remember(self, name: str, stamp: list[int], digest: str) -> None:
        self.memory.parent.mkdir(parents=True, exist_ok=True)
        # of one file there are many writers here: each has an unfinished one of its own
        unfinished = self.memory.with_name(f".{self.memory.name}.{secrets.token_hex(8)}.unfinished")
        with files.room_for(self.memory):
            unfinished.write_text(json.dumps(self._known() | {name: [stamp, digest]}), encoding="utf-8")
        unfinished.replace(self.memory)


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
