"""A corpus: the captions or the pictures of one split of one or several files."""

import html
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from icsd.config.corpus import Columns
from icsd.core.errors import InputError
from icsd.corpora.entries import Caption, Entry, RecordError
from icsd.corpora.layouts import AUTO, read_entries

_log = logging.getLogger(__name__)
Drop = Callable[[RecordError], None]
ALL = "all"
# with its semicolon: html.unescape alone reads "R&notes" as "R¬es"
ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
COMBINED_SPLITS = {"train": frozenset({"train", "restval"})}  # the usual training set of Karpathy's splits


class Row(NamedTuple):
    """A caption with its place in the file; image_id and split are None for a corpus without them."""

    path: Path
    place: str
    caption_id: int
    image_id: int | None
    text: str
    split: str | None


class Picture(NamedTuple):
    """A picture with the id and text of each caption, its file name or bytes, and the domain in NoCaps."""

    image_id: int
    name: str
    data: bytes | None
    captions: tuple[tuple[int, str], ...]
    domain: str | None


class _PictureEntry(NamedTuple):
    """An entry with the ids that the corpus gives it."""

    path: Path
    entry: Entry
    image_id: int
    captions: tuple[tuple[int, str], ...]


@dataclass
class _Counts:
    """Counts of a pass through a corpus."""

    entries: int = 0
    captions: int = 0
    splits: Counter[str] = field(default_factory=Counter)


def refuse(error: RecordError) -> None:
    """Raise the error of a record that cannot be used."""
    raise error


@dataclass(frozen=True)
class Corpus:
    """Files of one corpus; `split` is the name of a split, `all`, or None for a corpus without splits.

    A caption without an id gets its number, counted from 1 through all files and splits; in a text file this is the
    number of its line. A picture without an id gets one in the same way, and one picture of a file name has one id.
    `missing` are texts that stand for no caption, such as NA.

    A record that cannot be used goes to the function `drop`, which raises its RecordError or not.
    """

    paths: tuple[Path, ...]
    layout: str = AUTO
    split: str | None = None
    columns: Columns = field(default_factory=Columns)
    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, paths: Iterable[str | Path], settings: Mapping[str, Any]) -> "Corpus":
        """Return the corpus in these files; `settings` are those of `reading` in a section of the config."""
        columns, missing = Columns(**settings["columns"]), tuple(settings.get("missing", ()))
        return cls(tuple(map(Path, paths)), settings["layout"], settings["split"], columns, missing)

    def captions(self, drop: Drop = refuse) -> Iterator[Row]:
        """Yield the captions in the order of the files, with characters for HTML's entities; InputError for none."""
        counts, taken, without_caption = _Counts(), 0, 0
        columns = self.columns.model_copy(update={"image": ""})  # captions need no picture
        for path, entry in self._entries(columns, counts, drop):
            without_caption += not entry.captions
            for caption_id, caption in _numbered(entry, counts, drop):
                text = ENTITY.sub(lambda found: html.unescape(found[0]), caption.text)
                if not text.strip() or text.strip() in self.missing:
                    drop(RecordError(path, caption.place, "stands for no caption", "remove the record"))
                    continue
                taken += 1
                yield Row(path, caption.place, caption_id, entry.image_id, text, entry.split)
        if not taken:
            raise self._empty(counts, "caption")
        if without_caption:
            _log.info("%s pictures of the corpus have no caption", f"{without_caption:,}")

    def pictures(self, drop: Drop = refuse, *, files: bool = True) -> Iterator[Picture]:
        """Yield the pictures, those with bytes in the order of the files, then the others by id; InputError if none.

        Entries of the same picture, as in BLIP's training file, are joined to one picture with all captions. Without
        `files`, a picture need not have a file name.
        """
        counts, pictures, known, named = _Counts(), dict[int, _PictureEntry](), set[int](), dict[str, int]()
        for path, entry in self._entries(self.columns, counts, drop):
            captions = tuple(_distinct(path, _numbered(entry, counts, drop), known))
            image_id = entry.image_id
            if image_id is None:
                own_name = entry.name if entry.data is None else None
                image_id = counts.entries if own_name is None else named.setdefault(own_name, counts.entries)
            new = _PictureEntry(path, entry, image_id, captions)
            if image_id in pictures:
                new = _joined(pictures[image_id], new)
            if entry.data is not None:
                yield _picture(new, files=files)
                new = new._replace(entry=entry._replace(data=b"", captions=()), captions=())  # the id finds duplicates
            pictures[image_id] = new
        for _, picture in sorted(pictures.items()):
            if picture.entry.data is None:
                yield _picture(picture, files=files)
        if not pictures:
            raise self._empty(counts, "picture")

    def _entries(self, columns: Columns, counts: _Counts, drop: Drop) -> Iterator[tuple[Path, Entry]]:
        """Yield the entries of the split; captions of other splits are counted, since numbers are ids."""
        wanted = None if self.split == ALL else COMBINED_SPLITS.get(self.split or "", frozenset({self.split}))
        for path in self.paths:
            for entry in read_entries(path, self.layout, columns):
                counts.entries += 1
                if entry.error is not None:
                    counts.captions += 1
                    drop(entry.error)
                    continue
                if entry.split is not None:
                    self._check_split(path, entry.split)
                    counts.splits[entry.split] += 1
                if entry.split is None or wanted is None or entry.split in wanted:
                    yield path, entry
                else:
                    counts.captions += len(entry.captions)

    def _check_split(self, path: Path, found: str) -> None:
        if self.split is None:
            problem = f"has splits of its own, such as {found}, and the config names none"
            raise InputError(path, "split", problem, "name one, or all, as its split in config/config.yaml")

    def _empty(self, counts: _Counts, what: str) -> InputError:
        if counts.splits:
            known = ", ".join(f"{name} ({number:,} records)" for name, number in sorted(counts.splits.items()))
            problem = f"its split {self.split} holds no {what}, where it has {known}"
            hint = "name one of them as its split in the config, or all, as in captions: {split: all}"
            return InputError(self.paths[0], "split", problem, hint)
        return InputError(self.paths[0], "", f"holds no {what}", f"give a file with {what}s")


def _numbered(entry: Entry, counts: _Counts, drop: Drop) -> Iterator[tuple[int, Caption]]:
    for caption in entry.captions:
        counts.captions += 1
        if caption.error is not None:
            drop(caption.error)
            continue
        yield counts.captions if caption.caption_id is None else caption.caption_id, caption


def _distinct(path: Path, captions: Iterator[tuple[int, Caption]], known: set[int]) -> Iterator[tuple[int, str]]:
    for number, caption in captions:
        if number in known:
            raise InputError(path, caption.place, f"repeats the caption id {number}", "keep one of the two")
        known.add(number)
        yield number, caption.text


def _joined(one: _PictureEntry, other: _PictureEntry) -> _PictureEntry:
    """Join the captions of two entries; InputError if they are not of the same picture."""
    if one.entry.data is not None or other.entry.data is not None or one.entry.name != other.entry.name:
        problem = f"repeats the image {one.image_id} of {one.path}, {one.entry.place}"
        raise InputError(other.path, other.entry.place, problem, "keep one of the two")
    return one._replace(captions=one.captions + other.captions)


def _picture(picture: _PictureEntry, *, files: bool) -> Picture:
    entry, image_id = picture.entry, picture.image_id
    if files and entry.name is None and entry.data is None:
        hint = "name the column with its picture in columns.image in config/config.yaml, or give a layout with pictures"
        raise InputError(picture.path, entry.place, "names no picture", hint)
    return Picture(image_id, entry.name or str(image_id), entry.data, picture.captions, entry.domain)
