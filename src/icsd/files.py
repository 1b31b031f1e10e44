"""Writing that leaves the old file or the new one, never a part."""

import errno
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from icsd.errors import DiskFullError

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

    The folder is made where it is missing. A folder that stands at `path` is replaced. What a killed process left
    unfinished is deleted: of one `path` there is one writer at a time. DiskFullError where there is no room.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.unfinished"):
        _remove(left)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with room_for(path):
            yield unfinished
        if path.is_dir():
            shutil.rmtree(path)
        unfinished.replace(path)
    finally:
        _remove(unfinished)


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
