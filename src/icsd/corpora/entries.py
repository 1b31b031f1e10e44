"""What every reader yields, and the checks that they share."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from icsd.core.errors import InputError
from icsd.core.text import truncated

LARGEST = 2**63 - 1  # what a column of ids holds


class Caption(NamedTuple):
    """A caption and its place in the file; its id is None where the layout has none."""

    place: str
    caption_id: int | None
    text: str


class Entry(NamedTuple):
    """A picture with its captions, or captions alone: what a layout does not say is None.

    `name` is the picture's file below the folder of the pictures, `data` its bytes where the annotations hold them.
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
    """A record of a file, and the hint where one of its values is missing or misshapen."""

    path: Path
    place: str
    values: Mapping[str, Any]
    hint: str

    def number(self, key: str) -> int:
        """A whole number of 64 bits."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST:
            raise self.error(self._unfit(key, "a whole number of 64 bits"))
        return value

    def text(self, key: str) -> str:
        """A text that is not empty."""
        return self.sentence(key, self.values.get(key))

    def sentence(self, key: str, value: object) -> str:
        """The same of a value that was found under `key`."""
        if not isinstance(value, str):
            raise self.error(self._unfit(key, "a text"))
        if not value.strip():
            raise InputError(self.path, self.place, f"its {key} is empty", "give it one or remove the record")
        try:
            value.encode()
        except UnicodeEncodeError as error:  # an escape such as \ud800 alone
            problem = f"character {error.start} of its {key} is half of a surrogate pair"
            raise InputError(self.path, self.place, problem, "mend or remove the record") from error
        return value

    def records(self, key: str) -> Iterator["Record"]:
        """The objects of a list."""
        values = self.values.get(key)
        if not isinstance(values, list):
            raise self.error(self._unfit(key, "a list"))
        return records(self.path, values, f"{self.place}.{key}", self.hint)

    def error(self, problem: str) -> InputError:
        """The error with this problem."""
        return InputError(self.path, self.place, problem, self.hint)

    def _unfit(self, key: str, wanted: str) -> str:
        if key not in self.values:
            return f"has no {key}"
        return f"its {key} is {shown(self.values[key])}, not {wanted}"


def records(path: Path, values: list[Any], name: str, hint: str) -> Iterator[Record]:
    """The objects of a list that the file calls `name`, each with its place; InputError for what is no object."""
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            raise InputError(path, f"{name}[{number}]", "is no object", hint)
        known = f" (id {value['id']})" if isinstance(value.get("id"), int) else ""
        yield Record(path, f"{name}[{number}]{known}", value, hint)


def shown(value: object) -> str:
    """A value as a message shows it."""
    return truncated(json.dumps(value, ensure_ascii=False, default=repr))


def unreadable(path: Path, error: OSError) -> InputError:
    """The message for a file that cannot be opened or read."""
    missing = isinstance(error, FileNotFoundError)
    problem = "there is no such file" if missing else f"is unreadable ({error.strerror})"
    return InputError(path, "", problem, "mend its path in config/config.yaml")
