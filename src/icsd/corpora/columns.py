"""Tables with named columns: how the columns are found, and Parquet, read batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from icsd.config.corpus import Columns
from icsd.core.errors import InputError
from icsd.corpora.entries import (
    MAX_CAPTIONS,
    Caption,
    Entry,
    Record,
    RecordError,
    shown,
    unreadable_file,
    unusable,
    whole_number,
)

DEFAULT_NAMES = {  # of each column, where the config names none
    "caption": ("caption", "captions"),
    "caption_id": ("caption_id",),
    "image_id": ("image_id",),
    "image": ("image", "image_bytes", "file_name"),
    "split": ("split",),
}


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """Names of the columns in a file; None for a column that is missing or not to be read."""

    caption: str
    caption_id: str | None
    image_id: str | None
    image: str | None
    split: str | None

    def all(self) -> list[str]:
        """Return the names of the columns to read."""
        names = (self.caption, self.caption_id, self.image_id, self.image, self.split)
        return [name for name in names if name is not None]


def find_columns(path: Path, header: Sequence[str], columns: Columns, hint: str) -> ColumnNames:
    """Find the columns in a file's header; InputError for a column that the config names and the file lacks."""
    names = {key: _find_column(path, header, key, getattr(columns, key), hint) for key in DEFAULT_NAMES}
    caption = names.pop("caption")
    if caption is None:
        raise _missing(path, header, "caption", "caption", hint)
    return ColumnNames(caption, **names)


def _find_column(path: Path, header: Sequence[str], key: str, wanted: str | None, hint: str) -> str | None:
    if wanted is None:
        return next((name for name in DEFAULT_NAMES[key] if name in header), None)
    if wanted and wanted not in header:
        raise _missing(path, header, key, wanted, hint)
    return wanted or None


def _missing(path: Path, header: Sequence[str], key: str, wanted: str, hint: str) -> InputError:
    problem = f"has no column {wanted}, only {shown(list(header))}"
    return InputError(path, wanted, problem, f"name its column in columns.{key} in config/config.yaml; or {hint}")


def entry_of(record: Record, names: ColumnNames) -> Entry:
    """Return a row's entry, with its error if the row cannot be used."""
    try:
        split = None if names.split is None else record.text(names.split)
        name, data = (None, None) if names.image is None else _image(record, names.image)
        return Entry(_captions(record, names), record.place, _image_id(record, names), split, name, data)
    except RecordError as error:
        return unusable(error)


def _image_id(record: Record, names: ColumnNames) -> int | None:
    """Return the picture's id; captions that are read without pictures do not need one."""
    if names.image_id is None:
        return None
    return whole_number(record.values.get(names.image_id)) if names.image is None else record.number(names.image_id)


def _captions(record: Record, names: ColumnNames) -> tuple[Caption, ...]:
    value = record.values.get(names.caption)
    texts = value if isinstance(value, list) else [value]
    ids: list[Any] = [None] * len(texts)
    if len(texts) > MAX_CAPTIONS:
        raise _too_many(record, len(texts))
    if names.caption_id is not None:
        found = record.values.get(names.caption_id)
        ids = found if isinstance(found, list) else [found]
        if len(ids) != len(texts):
            raise record.error(f"has {len(texts)} captions and {len(ids)} of {names.caption_id}")
        ids = [_number(record, names.caption_id, value) for value in ids]
    places = [f"{record.place}, caption {n}" if isinstance(value, list) else "" for n in range(1, len(texts) + 1)]
    rows = zip(texts, ids, places, strict=True)
    return tuple(record.caption(names.caption, text, number, place) for text, number, place in rows)


def _number(record: Record, key: str, value: object) -> int:
    return Record(record.path, record.place, {key: value}, record.hint).number(key)


def _too_many(record: Record, count: int) -> RecordError:
    return record.error(f"has {count:,} captions, more than {MAX_CAPTIONS:,}")


def _image(record: Record, key: str) -> tuple[str | None, bytes | None]:
    """Return file name and bytes of a value: bytes, a file name, or both as the datasets library stores them."""
    value = record.values.get(key)
    name, data = (value.get("path"), value.get("bytes")) if isinstance(value, dict) else (value, value)
    name, data = name if isinstance(name, str) else None, data if isinstance(data, bytes) else None
    if name is None and data is None:
        raise record.error(f"its {key} holds neither bytes nor a file name")
    return name, data


ROWS = 10_000  # of a batch
ROWS_WITH_PICTURES = 64


def read_parquet(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    """Yield an entry for each row; only the columns in use are read."""
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = find_columns(path, file.schema_arrow.names, columns, hint)
            rows = ROWS_WITH_PICTURES if names.image else ROWS
            for batch in file.iter_batches(rows, columns=names.all()):
                for record in _records(path, batch, names, number, hint):
                    number += 1
                    yield record if isinstance(record, Entry) else entry_of(record, names)
    except UnicodeDecodeError as error:
        place = f"rows {number + 1:,} to {number + rows:,}"
        raise InputError(path, place, f"is not UTF-8 ({error})", "write the table anew from UTF-8") from error
    except (pa.ArrowException, ValueError, OverflowError) as error:  # the last two of values that Python does not have
        place, reason = f"row {number + 1:,}", str(error).partition("\n")[0]
        raise InputError(path, place, f"is no whole Parquet file ({reason}); was it cut short?", hint) from error
    except OSError as error:
        if error.strerror is None:  # Arrow's own error: the file is cut short or of another kind
            problem = f"is no whole Parquet file ({str(error).partition(chr(10))[0]}); was it cut short?"
            raise InputError(path, "", problem, hint) from error
        raise unreadable_file(path, error) from error


def _records(path: Path, batch: pa.RecordBatch, names: ColumnNames, before: int, hint: str) -> Iterator[Record | Entry]:
    """Yield the rows of a batch; a row with a list of millions is refused before Python has it."""
    counts = [_list_lengths(batch[name]) for name in (names.caption, names.caption_id) if name is not None]
    longest = [max(lengths) for lengths in zip(*counts, strict=True)]
    if max(longest, default=0) <= MAX_CAPTIONS:
        rows = iter(batch.to_pylist())
        yield from (Record(path, f"row {before + n:,}", values, hint) for n, values in enumerate(rows, 1))
        return
    for n, count in enumerate(longest):
        record = Record(path, f"row {before + n + 1:,}", {}, hint)
        if count > MAX_CAPTIONS:
            yield unusable(_too_many(record, count))
        else:
            yield Record(path, record.place, batch.slice(n, 1).to_pylist()[0], hint)


def _list_lengths(column: pa.Array) -> list[int]:
    """Return the number of items in each row; 1 for a column without lists."""
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return [1] * len(column)
    return pc.fill_null(pc.list_value_length(column), 0).to_pylist()
