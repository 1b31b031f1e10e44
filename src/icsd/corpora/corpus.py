"""A corpus: one or several files joined, and the captions or pictures of one of its splits."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from icsd.config.corpus import Columns
from icsd.core.errors import InputError
from icsd.corpora.entries import Caption, Entry
from icsd.corpora.layouts import AUTO, read_entries

_log = logging.getLogger(__name__)
ALL = "all"
JOINED = {"train": frozenset({"train", "restval"})}  # as published with Karpathy's splits, and as everybody trains


class Row(NamedTuple):
    """A caption: where it is, and its split where the corpus says one."""

    path: Path
    place: str
    caption_id: int
    image_id: int | None
    text: str
    split: str | None


class Picture(NamedTuple):
    """A picture with its captions, (id, text) each: its file's name, or its bytes; NoCaps' domain."""

    image_id: int
    name: str
    data: bytes | None
    captions: tuple[tuple[int, str], ...]
    domain: str | None


class _Placed(NamedTuple):
    path: Path
    entry: Entry
    image_id: int
    captions: tuple[tuple[int, str], ...]


@dataclass
class _Counts:
    """What was met on the way through a corpus."""

    entries: int = 0
    captions: int = 0
    splits: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Corpus:
    """Files of one corpus. `split`: which to take, `all`, or None for a corpus that has none of its own.

    A caption without an id has its number, counted from 1 through all files, whatever split is taken: in a text
    file its line's. The same holds for pictures.
    """

    paths: tuple[Path, ...]
    layout: str = AUTO
    split: str | None = None
    columns: Columns = field(default_factory=Columns)

    @classmethod
    def of(cls, paths: Iterable[str | Path], deciding: Mapping[str, Any]) -> "Corpus":
        """The corpus in these files that the config describes (`deciding()` of its section)."""
        return cls(
            tuple(Path(path) for path in paths), deciding["layout"], deciding["split"], Columns(**deciding["columns"])
        )

    def captions(self) -> Iterator[Row]:
        """The captions, one at a time, in the order of the files; InputError where there are none."""
        counts, taken, bare = _Counts(), 0, 0
        columns = self.columns.model_copy(update={"image": ""})  # not to read pictures for their captions
        for path, entry in self._entries(columns, counts):
            bare += not entry.captions
            for caption_id, caption in _numbered(entry, counts):
                taken += 1
                yield Row(path, caption.place, caption_id, entry.image_id, caption.text, entry.split)
        if not taken:
            raise self._empty(counts, "caption")
        if bare:
            _log.info("%s pictures of the corpus have no caption", f"{bare:,}")

    def pictures(self) -> Iterator[Picture]:
        """The pictures: those with bytes as they come, the others by id; InputError where there are none.

        A picture that several entries tell of, as in BLIP's file for training, is one with all their captions.
        """
        counts, held, known = _Counts(), dict[int, _Placed](), set[int]()
        for path, entry in self._entries(self.columns, counts):
            captions = tuple(_distinct(path, _numbered(entry, counts), known))
            image_id = counts.entries if entry.image_id is None else entry.image_id
            new = _Placed(path, entry, image_id, captions)
            if image_id in held:
                new = _joined(held[image_id], new)
            if entry.data is not None:
                yield _picture(new)
                new = new._replace(entry=entry._replace(data=b"", captions=()), captions=())  # its id is still needed
            held[image_id] = new
        for _, placed in sorted(held.items()):
            if placed.entry.data is None:
                yield _picture(placed)
        if not held:
            raise self._empty(counts, "picture")

    def _entries(self, columns: Columns, counts: _Counts) -> Iterator[tuple[Path, Entry]]:
        """Those of the split; the captions of the others are counted."""
        wanted = None if self.split == ALL else JOINED.get(self.split or "", frozenset({self.split}))
        for path in self.paths:
            for entry in read_entries(path, self.layout, columns):
                counts.entries += 1
                if entry.split is not None:
                    self._check_named(path, entry.split)
                    counts.splits[entry.split] += 1
                if entry.split is None or wanted is None or entry.split in wanted:
                    yield path, entry
                else:
                    counts.captions += len(entry.captions)

    def _check_named(self, path: Path, found: str) -> None:
        if self.split is None:
            problem = f"has splits of its own, such as {found}, and none is asked for"
            raise InputError(path, "split", problem, "name one, or all, as its split in config/config.yaml")

    def _empty(self, counts: _Counts, what: str) -> InputError:
        if counts.splits:
            known = ", ".join(f"{name} ({number:,} records)" for name, number in sorted(counts.splits.items()))
            problem = f"its split {self.split} holds no {what}, where it has {known}"
            return InputError(self.paths[0], "split", problem, "name another split in config/config.yaml")
        return InputError(self.paths[0], "", f"holds no {what}", f"give a file with {what}s")


def _numbered(entry: Entry, counts: _Counts) -> Iterator[tuple[int, Caption]]:
    for caption in entry.captions:
        counts.captions += 1
        yield counts.captions if caption.caption_id is None else caption.caption_id, caption


def _distinct(path: Path, captions: Iterator[tuple[int, Caption]], known: set[int]) -> Iterator[tuple[int, str]]:
    for number, caption in captions:
        if number in known:
            raise InputError(path, caption.place, f"doubles the caption id {number}", "keep one of the two")
        known.add(number)
        yield number, caption.text


def _joined(one: _Placed, other: _Placed) -> _Placed:
    """The captions of both; InputError where they cannot be the same picture."""
    if one.entry.data is not None or other.entry.data is not None or one.entry.name != other.entry.name:
        problem = f"doubles the image {one.image_id} of {one.path}, {one.entry.place}"
        raise InputError(other.path, other.entry.place, problem, "keep one of the two")
    return one._replace(captions=one.captions + other.captions)


def _picture(placed: _Placed) -> Picture:
    entry, image_id = placed.entry, placed.image_id
    if entry.name is None and entry.data is None:
        hint = "name the column with its picture in columns.image in config/config.yaml, or give a layout with pictures"
        raise InputError(placed.path, entry.place, "names no picture", hint)
    return Picture(image_id, entry.name or str(image_id), entry.data, placed.captions, entry.domain)
