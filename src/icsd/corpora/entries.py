"""Records of a corpus file: the entries that every reader yields, and the checks that readers share."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from icsd.core.errors import InputError
from icsd.core.text import truncated

LARGEST_ID = 2**63 - 1  # of a column of 64-bit ids
LARGEST_EXACT = 2**53  # above it, floats stand for several whole numbers
MAX_CAPTIONS = 10_000  # of one record
WHOLE_NUMBER = re.compile(r"([+-]?\d{1,19})(\.0*)?", re.ASCII)


class RecordError(InputError):
    """A record that cannot be used; the records after it can."""


class Caption(NamedTuple):
    """A caption with its place in the file; the id is None in a layout without ids, or in a record without one.

    With `error`, the record has no caption that can be used.
    """

    place: str
    caption_id: int | None
    text: str
    error: RecordError | None = None


class Entry(NamedTuple):
    """A picture with its captions, or captions alone; a field that the layout does not have is None.

    `name` is the path of the picture's file in the folder of pictures. `data` holds its bytes if the annotations do.
    With `error`, the whole record cannot be used.
    """

    captions: tuple[Caption, ...]
    place: str
    image_id: int | None = None
    split: str | None = None
    name: str | None = None
    data: bytes | None = None
    domain: str | None = None
    error: RecordError | None = None


def unusable(error: RecordError) -> Entry:
    """Return the entry of a record that cannot be used."""
    return Entry((), error.place, error=error)


@dataclass(slots=True)
class Record:
    """A record of a file, and the hint for errors about its values; one that is no object has no values."""

    path: Path
    place: str
    values: Mapping[str, Any]
    hint: str
    is_object: bool = True

    def number(self, key: str) -> int:
        """Return the value of `key`, a whole number of 64 bits, also as a text or a float: 42, "42" or 42.0."""
        number = whole_number(self.values.get(key))
        if number is None:
            raise self.error(self._mismatch(key, "a whole number of 64 bits"))
        return number

    def caption(self, key: str, value: object, caption_id: int | None, place: str = "") -> Caption:
        """Return a value that belongs to `key` as a caption, or its error; `place` is that in a list."""
        of_list = Record(self.path, place, {key: value}, self.hint) if place else self
        try:
            return Caption(of_list.place, caption_id, of_list.check_text(key, value))
        except RecordError as error:
            return Caption(of_list.place, caption_id, "", error)

    def text(self, key: str) -> str:
        """Return the value of `key`, a text that is not empty."""
        return self.check_text(key, self.values.get(key))

    def check_text(self, key: str, value: object) -> str:
        """Return a value that belongs to `key` if it is a text that is not empty."""
        if not isinstance(value, str):
            raise self.error(self._mismatch(key, "a text"))
        if not value.strip():
            raise RecordError(self.path, self.place, f"its {key} is empty", "give it one or remove the record")
        try:
            value.encode()
        except UnicodeEncodeError as error:  # an escape such as \ud800 alone
            problem = f"character {error.start} of its {key} is half of a surrogate pair"
            raise RecordError(self.path, self.place, problem, "mend or remove the record") from error
        return value

    def records(self, key: str) -> Iterator["Record"]:
        """Yield the objects of the list `key`."""
        values = self.values.get(key)
        if not isinstance(values, list):
            raise self.error(self._mismatch(key, "a list"))
        return records(self.path, values, f"{self.place}.{key}", self.hint)

    def error(self, problem: str) -> RecordError:
        """Return an error about this record."""
        return RecordError(self.path, self.place, problem, self.hint)

    def _mismatch(self, key: str, wanted: str) -> str:
        if not self.is_object:
            return "is no object"
        if key not in self.values:
            return f"has no {key}"
        return f"its {key} is {shown(self.values[key])}, not {wanted}"


def records(path: Path, values: list[Any], name: str, hint: str) -> Iterator[Record]:
    """Yield the objects of a list that the file calls `name`."""
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            yield Record(path, f"{name}[{number}]", {}, hint, is_object=False)
            continue
        known = f" (id {value['id']})" if isinstance(value.get("id"), int) else ""
        yield Record(path, f"{name}[{number}]{known}", value, hint)


def whole_number(value: object) -> int | None:
    """Return a whole number of 64 bits, also from a text such as "42" or "42.0", or from a float; None for all else."""
    if isinstance(value, str):
        found = WHOLE_NUMBER.fullmatch(value.strip())
        value = int(found[1]) if found else None
    elif isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) <= LARGEST_EXACT else None
    elif isinstance(value, Decimal):
        value = int(value) if value.is_finite() and value == value.to_integral_value() else None
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST_ID:
        return None
    return value


def shown(value: object) -> str:
    """Return the beginning of a value as JSON, for a message; half of a surrogate pair is escaped."""
    text = truncated(json.dumps(value, ensure_ascii=False, default=repr))
    return text.encode("utf-8", "backslashreplace").decode()


def unreadable_file(path: Path, error: OSError) -> InputError:
    """Return the error for a file that cannot be opened or read."""
    missing = isinstance(error, FileNotFoundError)
    problem = "there is no such file" if missing else f"is unreadable ({error.strerror})"
    return InputError(path, "", problem, "mend its path in config/config.yaml")
