"""An append-only store of what is expensive to make: replies that were paid for, images that were drawn.

Each record is durable from the moment it exists, under a key that is the hash of all that determined it. A store is a
folder of segments, `<time>-<random><suffix>`. One process alone writes a segment, and only appends to it, so that no
lock is needed: network file systems keep locks badly. A segment is a sequence of blocks, one for each write:

    header   magic, number of records, CRC-32 of the entries
    entries  for each record its key (32 bytes), its length and its CRC-32
    values   the bytes of the records

A reader reads headers and entries, and the values that it wants. Where a writer was killed in the middle of a block, it
still reads the whole records before the cut; it ignores damaged values. Any segment may be deleted, at the price of
making its records again. `icsd clean` rewrites segments without some of their records, while no job runs.
"""

import logging
import os
import secrets
import struct
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self
from zlib import crc32

from icsd.core import files
from icsd.core.errors import InputError

MAGIC = b"ICSDpic1"  # images were the first records
HEADER, ENTRY = struct.Struct("<8sII"), struct.Struct("<32sII")
READ_BYTES = 4096  # at once: the header and the entries of 102 records
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """The store in a folder, which need not exist yet.

    A reader sees all segments in the folder and below it; a writer adds its own to the subfolder `part`.
    """

    folder: Path
    suffix: str
    part: str = ""

    @property
    def own_folder(self) -> Path:
        """The folder of this part's segments."""
        return self.folder / self.part

    def find(self, keys: Collection[str]) -> dict[str, bytes]:
        """The values of those keys (hexadecimal) that are stored; of several, the first whole one."""
        found: dict[str, bytes] = {}
        for key, value in self.records(keys):
            found.setdefault(key, value)
        return found

    def records(self, keys: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield all whole records, or all with one of the keys, in the order of segments and writes."""
        wanted = None if keys is None else {bytes.fromhex(key) for key in keys}
        for path in self.segments() if wanted != set() else ():
            yield from _records(path, wanted)

    def segments(self) -> list[Path]:
        """The segments of all parts, in the order in which they are read."""
        return sorted(self.folder.rglob(f"*{self.suffix}"))

    def count(self) -> int:
        """Number of different keys in this part."""
        return len(
            {
                entry.key
                for path in self.own_folder.glob(f"*{self.suffix}")
                for _, block in _blocks(path)
                for entry in block
            }
        )

    def writer(self) -> "SegmentWriter":
        """A writer of a new segment."""
        name = f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(8)}{self.suffix}"
        return SegmentWriter(self.own_folder / name)


class _Entry(NamedTuple):
    """A record's key, and where its value is in the segment."""

    key: bytes
    offset: int
    length: int
    checksum: int


def _records(path: Path, wanted: Collection[bytes] | None) -> Iterator[tuple[str, bytes]]:
    for file, entries in _blocks(path):
        for entry in entries if wanted is None else [entry for entry in entries if entry.key in wanted]:
            if (value := _value(file, entry)) is not None:
                yield entry.key.hex(), value
            else:
                _log.warning("%s: the record %s is damaged and ignored", path, entry.key.hex())


def _value(file: BinaryIO, entry: _Entry) -> bytes | None:
    """The value of a record; None if it is damaged."""
    value = os.pread(file.fileno(), entry.length, entry.offset)
    return value if len(value) == entry.length and crc32(value) == entry.checksum else None


def read_segment(path: Path) -> Iterator[list[tuple[str, bytes | None]]]:
    """Yield the keys and values of each block of a segment; a damaged value is None."""
    for file, entries in _blocks(path):
        yield [(entry.key.hex(), _value(file, entry)) for entry in entries]


def count_records(path: Path) -> int:
    """Number of the records of a segment, whose values are not read."""
    return sum(len(entries) for _, entries in _blocks(path))


def rewrite_segment(path: Path, kept: Sequence[bool]) -> None:
    """Keep some records of a segment, in the order of `read_segment`; delete the segment if that is none.

    The new segment is whole and durable before it takes the place of the old one under its name, so that a kill leaves
    one of the two. No process may append to the segment: InputError if one did, or if a record to keep is damaged.
    DiskFullError if there is no room for both.
    """
    if not any(kept):
        path.unlink()
        files.sync_folder(path.parent)
        return
    numbers, size = iter(kept), path.stat().st_size
    with files.atomic_path(path) as unfinished, unfinished.open("xb", buffering=0) as file:
        for block in read_segment(path):
            if records := [(key, _whole(path, key, value)) for key, value in block if next(numbers, False)]:
                files.write_all(file, _packed(records))
        os.fsync(file.fileno())
        if path.stat().st_size != size:
            raise InputError(path, "", "a job writes to it", "let the job end, and try again")
    files.sync_folder(path.parent)


def _whole(path: Path, key: str, value: bytes | None) -> bytes:
    if value is None:
        raise InputError(path, key, "the record is damaged, and was whole before", "look at the disk")
    return value


def _blocks(path: Path) -> Iterator[tuple[BinaryIO, list[_Entry]]]:
    """Yield the open segment and the entries of each block whose values are not cut."""
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:  # deleted since it was listed
        return
    with file:
        offset, size = 0, os.fstat(file.fileno()).st_size
        while entries := _entries(file, offset, size):
            offset = entries[-1].offset + entries[-1].length
            cut = offset > size
            yield file, [entry for entry in entries if entry.offset + entry.length <= size] if cut else entries


def _entries(file: BinaryIO, offset: int, size: int) -> list[_Entry]:
    """The entries of the block at `offset`; empty if its header or entries are not whole."""
    read = os.pread(file.fileno(), READ_BYTES, offset)
    if len(read) < HEADER.size:
        return []
    magic, count, checksum = HEADER.unpack_from(read)
    end = HEADER.size + count * ENTRY.size
    if magic != MAGIC or not count or offset + end > size:
        return []
    if end > len(read):
        read = os.pread(file.fileno(), end, offset)
    entries = read[HEADER.size : end]
    if crc32(entries) != checksum:
        return []
    keys, lengths, checksums = zip(*ENTRY.iter_unpack(entries), strict=True)
    offsets = accumulate(lengths, initial=offset + end)
    return list(map(_Entry._make, zip(keys, offsets, lengths, checksums, strict=False)))


def _packed(records: Sequence[tuple[str, bytes]]) -> bytes:
    """A block of records."""
    entries = b"".join(ENTRY.pack(bytes.fromhex(key), len(value), crc32(value)) for key, value in records)
    header = HEADER.pack(MAGIC, len(records), crc32(entries))
    return b"".join([header, entries, *(value for _, value in records)])


class SegmentWriter:
    """Appends to one segment. The file is created with the first record."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    @property
    def folder(self) -> Path:
        """The folder of the segment."""
        return self._path.parent

    def append(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Append values with their keys; they are durable when this returns.

        DiskFullError if there is no room; what was written of the records is then cut off again.
        """
        if not records:
            return
        with files.room_for(self._path):
            self._write(_packed(records))

    def _write(self, block: bytes) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = files.new_file(self._path)
        try:
            files.write_all(self._file, block)
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._size)
            self._file.seek(self._size)
            if not self._size:  # nobody needs the file, and a later record would be lost in it without its name
                self._path.unlink()
                self._file.close()
                self._file = None
            raise
        self._size += len(block)
