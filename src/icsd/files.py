"""Writing that leaves the old file or the new one, never a part."""

import errno
import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from icsd.errors import DiskFullError
from icsd.holders import Holder

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
