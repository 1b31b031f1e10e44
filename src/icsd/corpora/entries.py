"""Records of a corpus file: the entries that every reader yields, and the checks that readers share."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from icsd.core.errors import InputError
from icsd.core.text import truncated

LARGEST_ID = 2**63 - 1  # of a column of 64-bit ids


class Caption(NamedTuple):
    """A caption with its place in the file; the id is None in a layout without ids."""

    place: str
    caption_id: int | None
    text: str


class Entry(NamedTuple):
    """A picture with its captions, or captions alone; a field that the layout does not have is None.

    `name` is the path of the picture's file in the folder of pictures. `data` holds its bytes if the annotations do.
    """

    captions: tuple[Caption, ...]
    place: str
    image_id: int | None = None
    split: str | None = None
    name: str | None = None
    data: bytes | None = None
    domain: str | None = None


@dataclass(slots=True)
class Record:
    """A record of a file, and the hint for errors about its values."""

    path: Path
    place: str
    values: Mapping[str, Any]
    hint: str

    def number(self, key: str) -> int:
        """Return the value of `key`, a whole number of 64 bits."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST_ID:
            raise self.error(self._mismatch(key, "a whole number of 64 bits"))
        return value

    def text(self, key: str) -> str:
        """Return the value of `key`, a text that is not empty."""
        return self.check_text(key, self.values.get(key))

    def check_text(self, key: str, value: object) -> str:
        """Return a value that belongs to `key` if it is a text that is not empty."""
        if not isinstance(value, str):
            raise self.error(self._mismatch(key, "a text"))
        if not value.strip():
            raise InputError(self.path, self.place, f"its {key} is empty", "give it one or remove the record")
        try:
            value.encode()
        except UnicodeEncodeError as error:  # an escape such as \ud800 alone
            problem = f"character {error.start} of its {key} is half of a surrogate pair"
            raise InputError(self.path, self.place, problem, "mend or remove the record") from error
        return value

    def records(self, key: str) -> Iterator["Record"]:
        """Yield the objects of the list `key`."""
        values = self.values.get(key)
        if not isinstance(values, list):
            raise self.error(self._mismatch(key, "a list"))
        return records(self.path, values, f"{self.place}.{key}", self.hint)

    def error(self, problem: str) -> InputError:
        """Return an error about this record."""
        return InputError(self.path, self.place, problem, self.hint)

    def _mismatch(self, key: str, wanted: str) -> str:
        if key not in self.values:
            return f"has no {key}"
        return f"its {key} is {shown(self.values[key])}, not {wanted}"


def records(path: Path, values: list[Any], name: str, hint: str) -> Iterator[Record]:
    """Yield the objects of a list that the file calls `name`; InputError for an item that is not an object."""
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            raise InputError(path, f"{name}[{number}]", "is no object", hint)
        known = f" (id {value['id']})" if isinstance(value.get("id"), int) else ""
        yield Record(path, f"{name}[{number}]{known}", value, hint)


def shown(value: object) -> str:
    """Return the beginning of a value as JSON, for a message."""
    return truncated(json.dumps(value, ensure_ascii=False, default=repr))


def unreadable_file(path: Path, error: OSError) -> InputError:
    """Return the error for a file that cannot be opened or read."""
    missing = isinstance(error, FileNotFoundError)
    problem = "there is no such file" if missing else f"is unreadable ({error.strerror})"
    return InputError(path, "", problem, "mend its path in config/config.yaml")
