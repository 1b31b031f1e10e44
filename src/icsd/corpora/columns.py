"""Rows with named columns, as CSV, Parquet and JSON Lines have them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icsd.config.corpus import Columns
from icsd.corpora.entries import Caption, Entry, Record, shown
from icsd.errors import InputError

USUAL = {  # what a column is called where the config names none
    "caption": ("caption", "captions"),
    "caption_id": ("caption_id",),
    "image_id": ("image_id",),
    "image": ("image", "image_bytes", "file_name"),
    "split": ("split",),
}
WHOLE_NUMBER = re.compile(r"[+-]?\d{1,19}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Names:
    """What the columns are called in a file; None for those that it lacks or that are not to be read."""

    caption: str
    caption_id: str | None
    image_id: str | None
    image: str | None
    split: str | None

    def all(self) -> list[str]:
        """The columns to read."""
        names = (self.caption, self.caption_id, self.image_id, self.image, self.split)
        return [name for name in names if name is not None]


def found_names(path: Path, header: Sequence[str], columns: Columns, hint: str) -> Names:
    """The names among those of the file's `header`; InputError for one that the config names and the file lacks."""
    names = {key: _found_name(path, header, key, getattr(columns, key), hint) for key in USUAL}
    caption = names.pop("caption")
    if caption is None:
        raise _missing(path, header, "caption", "caption", hint)
    return Names(caption, **names)


def _found_name(path: Path, header: Sequence[str], key: str, wanted: str | None, hint: str) -> str | None:
    if wanted is None:
        return next((name for name in USUAL[key] if name in header), None)
    if wanted and wanted not in header:
        raise _missing(path, header, key, wanted, hint)
    return wanted or None


def _missing(path: Path, header: Sequence[str], key: str, wanted: str, hint: str) -> InputError:
    problem = f"has no column {wanted}, only {shown(list(header))}"
    return InputError(path, wanted, problem, f"name its column in columns.{key} in config/config.yaml; or {hint}")


def entry_of(record: Record, names: Names) -> Entry:
    """The entry of a row."""
    values = record.values
    image_id = None if names.image_id is None else _number(record, names.image_id, values.get(names.image_id))
    split = None if names.split is None else record.text(names.split)
    name, data = (None, None) if names.image is None else _image(record, names.image)
    return Entry(_captions(record, names), record.place, image_id, split, name, data)


def _captions(record: Record, names: Names) -> tuple[Caption, ...]:
    said = record.values.get(names.caption)
    texts = said if isinstance(said, list) else [said]
    ids: list[Any] = [None] * len(texts)
    if names.caption_id is not None:
        found = record.values.get(names.caption_id)
        ids = found if isinstance(found, list) else [found]
        if len(ids) != len(texts):
            raise record.error(f"has {len(texts)} captions and {len(ids)} of {names.caption_id}")
        ids = [_number(record, names.caption_id, value) for value in ids]
    pairs = zip(ids, texts, strict=True)
    return tuple(Caption(record.place, number, record.sentence(names.caption, text)) for number, text in pairs)


def _number(record: Record, key: str, value: object) -> int:
    """A number as it is, or of a text of digits, as all values of CSV are."""
    if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    return Record(record.path, record.place, {key: value}, record.hint).number(key)


def _image(record: Record, key: str) -> tuple[str | None, bytes | None]:
    """File name and bytes: bytes, a file name, or both as the datasets library stores them."""
    value = record.values.get(key)
    name, data = (value.get("path"), value.get("bytes")) if isinstance(value, dict) else (value, value)
    name, data = name if isinstance(name, str) else None, data if isinstance(data, bytes) else None
    if name is None and data is None:
        raise record.error(f"its {key} holds neither bytes nor a file name")
    return name, data
