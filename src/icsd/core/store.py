"""The store of pictures: each kept from the moment it exists, under the hash of all that determined it.

A folder a run, of segments, `<time>-<random>.pictures`, each written by one process alone and only ever grown: no
locks, which network file systems keep badly, and one file for all that a job draws. A segment is a row of blocks, one
a batch:

    head      magic, how many pictures, CRC-32 of the entries
    entries   for each picture its key (32 bytes), the length of its PNG file, CRC-32 of that
    pictures  the PNG files

A reader takes the heads alone, and stops where a writer was killed in the middle of a block. It only saves work:
deleting the folder, or any segment in it, is safe.
"""

import logging
import os
import secrets
import struct
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self
from zlib import crc32

from icsd.core import files

MAGIC = b"ICSDpic1"
HEAD, ENTRY = struct.Struct("<8sII"), struct.Struct("<32sII")
READ_BYTES = 4096  # at once: the head and the entries of 102 pictures
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a picture's file lies in a segment, and its checksum."""

    at: int
    length: int
    checksum: int


@dataclass(frozen=True)
class KeptPictures:
    """The store in a folder, which need not exist yet, as the run `run` uses it: it reads all and writes its own."""

    folder: Path
    run: str

    @property
    def own(self) -> Path:
        """The folder of what this run has drawn."""
        return self.folder / self.run

    def find(self, keys: Collection[str]) -> dict[str, bytes]:
        """The PNG files that are kept of those keys (hexadecimal), read and checked."""
        found: dict[str, bytes] = {}
        for path in sorted(self.folder.glob("*/*.pictures")) if keys else ():
            found |= _read(path, {bytes.fromhex(key) for key in keys if key not in found})
        return found

    def count(self) -> int:
        """How many different pictures this run has drawn."""
        paths = self.own.glob("*.pictures")
        return len({key for path in paths for key, _ in _entries(path)})

    def writer(self) -> "Segment":
        """A new segment of this run."""
        return Segment(self.own)


def _read(path: Path, wanted: Collection[bytes]) -> dict[str, bytes]:
    places: dict[bytes, list[Place]] = defaultdict(list)
    for key, place in _entries(path):
        if key in wanted:
            places[key].append(place)
    found: dict[str, bytes] = {}
    if places:
        with path.open("rb", buffering=0) as file:
            for key, several in places.items():
                good = (png for place in several if (png := _picture(file, place)) is not None)
                if (picture := next(good, None)) is not None:
                    found[key.hex()] = picture
                else:
                    _log.warning("%s: the picture %s is damaged, and drawn anew", path, key.hex())
    return found


def _picture(file: BinaryIO, place: Place) -> bytes | None:
    """The picture's file; None where it is not what was written."""
    png = os.pread(file.fileno(), place.length, place.at)
    return png if len(png) == place.length and crc32(png) == place.checksum else None


def _entries(path: Path) -> Iterator[tuple[bytes, Place]]:
    """The key and place of each whole picture of a segment, up to where a writer was killed."""
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:  # deleted since it was listed
        return
    with file:
        at, size = 0, os.fstat(file.fileno()).st_size
        while entries := _block(file, at, size):
            at += HEAD.size + len(entries) * ENTRY.size
            for key, length, checksum in entries:
                if at + length <= size:
                    yield key, Place(at, length, checksum)
                at += length


def _block(file: BinaryIO, at: int, size: int) -> list[tuple[bytes, int, int]]:
    """Key, length and checksum of each picture of the block at `at`; empty where no whole head and entries are."""
    read = os.pread(file.fileno(), READ_BYTES, at)
    if len(read) < HEAD.size:
        return []
    magic, count, checksum = HEAD.unpack_from(read)
    end = HEAD.size + count * ENTRY.size
    if magic != MAGIC or at + end > size:
        return []
    if end > len(read):
        read = os.pread(file.fileno(), end, at)
    entries = read[HEAD.size : end]
    return list(ENTRY.iter_unpack(entries)) if crc32(entries) == checksum else []


class Segment:
    """What one process adds to the store. The file is made with the first picture."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(8)}.pictures"
        self._file: BinaryIO | None = None
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def keep(self, pictures: Sequence[tuple[str, bytes]]) -> None:
        """Add PNG files with their keys; they are durable when this returns.

        DiskFullError where there is no room; what was written of them is then cut off again.
        """
        entries = b"".join(ENTRY.pack(bytes.fromhex(key), len(png), crc32(png)) for key, png in pictures)
        head = HEAD.pack(MAGIC, len(pictures), crc32(entries))
        with files.room_for(self._path):
            self._append(b"".join([head, entries, *(png for _, png in pictures)]))

    def _append(self, block: bytes) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = files.new_file(self._path)
        try:
            files.write_all(self._file, block)
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._size)
            self._file.seek(self._size)
            if not self._size:
                self._path.unlink()
            raise
        self._size += len(block)
