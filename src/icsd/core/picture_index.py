"""The index of a Parquet file of pictures: where each lies in the file, its size in pixels and its SHA-256.

Parquet packs many values into a page and compresses it, so that a reader of one picture would unpack hundreds. Pictures
are compressed already. IndexedWriter stores them as they are and writes into the footer where each begins: any picture
is then one read. The file is ordinary Parquet for all other readers.
"""

import base64
import hashlib
import mmap
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

KEY = b"icsd_pictures"  # in the file's metadata
NOWHERE = -1  # the start of a row without a picture
# sizes are as `icsd.core.pictures` shows the picture, and 0 of bytes that are none
ENTRY = np.dtype([("start", "<i8"), ("length", "<u4"), ("height", "<u4"), ("width", "<u4"), ("sha256", "V32")])
_HEAD = 64  # bytes by which a picture is searched before it is compared


class IndexedWriter:
    """Writes tables whose struct `column` has the pictures' bytes; each table becomes a row group."""

    def __init__(self, path: Path, schema: pa.Schema, column: str) -> None:
        self._path, self._column = path, column
        data, leaves = f"{column}.bytes", [leaf for field in schema for leaf in _leaves(field)]
        others = [leaf for leaf in leaves if leaf != data]
        compression = dict.fromkeys(others, "zstd") | {data: "none"}
        options = {"compression": compression, "use_dictionary": others, "write_statistics": others}
        self._writer = pq.ParquetWriter(path, schema, **options)
        self._entries, self._end = [np.empty(0, ENTRY)], 0

    def __enter__(self) -> "IndexedWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if kind is None:
            index = base64.b64encode(np.concatenate(self._entries).tobytes())
            self._writer.add_key_value_metadata({KEY.decode(): index.decode()})
        self._writer.close()

    def write_table(self, data: pa.Table, row_group_size: int | None = None) -> None:
        """Write rows, and note where their pictures lie."""
        self._writer.write_table(data, row_group_size or max(len(data), 1))
        if len(data):
            with self._path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as written:
                self._entries.append(self._placed(data[self._column], written))

    def _placed(self, images: pa.ChunkedArray, written: mmap.mmap) -> np.ndarray:
        entries = np.zeros(len(images), ENTRY)
        for number, image in enumerate(images):
            picture = image["bytes"].as_py() if image.is_valid else None
            if picture is None:
                entries[number]["start"] = NOWHERE
                continue
            entries[number] = entry_of(picture, start := _find(picture, written, self._end))
            self._end = start + len(picture)
        return entries


def entry_of(picture: bytes, start: int) -> np.void:
    """Return the ENTRY of a picture that begins at byte `start`."""
    from icsd.core.pictures import PictureError, read_header  # late: tables without pictures need no PIL

    try:
        width, height = read_header(picture).size
    except PictureError:
        width = height = 0
    return np.array([(start, len(picture), height, width, hashlib.sha256(picture).digest())], ENTRY)[0]


def read_index(metadata: Mapping[bytes, bytes]) -> np.ndarray | None:
    """Return the ENTRY of each row from a file's metadata; None for a file of an earlier version, which has none."""
    index = metadata.get(KEY)
    return None if index is None else np.frombuffer(base64.b64decode(index), ENTRY)


def _find(picture: bytes, written: mmap.mmap, start: int) -> int:
    """Return where the picture begins at or after `start`: its bytes are there, whatever else equals its first ones."""
    while (start := written.find(picture[:_HEAD], start)) >= 0:
        if written[start : start + len(picture)] == picture:
            return start
        start += 1
    raise RuntimeError("pyarrow does not store binary values as they are")


def _leaves(field: pa.Field) -> list[str]:
    """Return Parquet's names of a field's columns."""
    if pa.types.is_struct(field.type):
        return [f"{field.name}.{inner.name}" for inner in field.type]
    return [f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name]
