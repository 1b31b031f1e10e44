"""Captions: a corpus as published, sorted into shards."""

import logging
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import shard_of
from icsd.core.languages import ENGLISH
from icsd.corpora import Corpus, Row
from icsd.corpora.dropped import DroppedRecords
from icsd.corpora.entries import RecordError

BATCH = 100_000  # captions in memory at once
LOOKED_AT = 1000  # captions whose script is looked at
_log = logging.getLogger(__name__)


def read_captions(
    corpus: Corpus,
    max_characters: int,
    captions: Path,
    shards: int,
    language: str = ENGLISH,
    max_drop_share: float = 0.0,
) -> None:
    """Write the CAPTIONS of a corpus, by id, each in the shard that its id's hash names.

    The captions of a corpus without splits get the split that the config names. The corpus is read as a stream, and
    only one shard of it is in memory at once. A record that cannot be used, or whose caption is longer than
    `max_characters`, is dropped, and a LEDGER beside the captions has the reason. TooManyDroppedError for more than
    the share `max_drop_share`; with 0, the first is an InputError. So is an id of two captions, a corpus or a split
    without captions, one of numbers, and one in another script than the language's if that is English.
    """
    dropped = DroppedRecords(max_drop_share, "captions.max_drop_share")
    rows, ids = _short(corpus.captions(dropped.drop), max_characters, dropped), list[np.ndarray]()
    with ShardSorter(captions.parent) as sorter:
        while batch := list(islice(rows, BATCH)):
            if not ids:
                _check_words(batch[:LOOKED_AT])
            if language == ENGLISH and not ids:
                _check_english(batch[:LOOKED_AT])
            table = _table(batch, corpus.split)
            ids.append(table["caption_id"].to_numpy())
            sorter.add(table, [shard_of(row.caption_id, shards) for row in batch])
            _log.info("captions: %s are read", f"{sum(map(len, ids)):,}")
        dropped.check(sum(map(len, ids)), corpus.paths[0])
        _check_distinct(corpus, np.concatenate([np.empty(0, dtype=np.int64), *ids]))
        by_shard = (sorter.read(shard, tables.CAPTIONS.schema).sort_by("caption_id") for shard in range(shards))
        tables.write_batches(captions, tables.CAPTIONS, by_shard)
    dropped.write(captions)


def _table(batch: Sequence[Row], split: str | None) -> pa.Table:
    columns = {
        "caption_id": [row.caption_id for row in batch],
        "image_id": [row.image_id for row in batch],
        "caption": [row.text for row in batch],
        "split": [row.split or split for row in batch],
    }
    return pa.table(columns, schema=tables.CAPTIONS.schema)


def _check_distinct(corpus: Corpus, ids: np.ndarray) -> None:
    """Raise InputError for an id of two captions; it reads the corpus again to name both, as ids alone were stored."""
    ids = np.sort(ids)
    same = ids[1:][ids[1:] == ids[:-1]]
    if len(same):
        again = corpus.captions(lambda _: None)
        first, second = islice((row for row in again if row.caption_id == same[0]), 2)
        problem = f"repeats the id {second.caption_id} of {first.path}, {first.place}"
        raise InputError(second.path, second.place, problem, "keep one of the two, or give no ids")


def _short(rows: Iterator[Row], limit: int, dropped: DroppedRecords) -> Iterator[Row]:
    """Yield the captions that are not too long, and drop the others."""
    hint = "shorten or remove it, or raise the limit in config/config.yaml"
    for row in rows:
        if len(row.text) <= limit:
            yield row
            continue
        count = f"{len(row.text):,} characters, where captions.max_characters={limit:,} are allowed"
        place = f"{row.place}, caption {row.caption_id}"
        dropped.drop(RecordError(row.path, place, f"its caption is too long: {count}", hint))


def _check_words(rows: Sequence[Row]) -> None:
    """Raise InputError if most captions have no letter: a column of ids was read as captions."""
    without = [row for row in rows if not any(map(str.isalpha, row.text))]
    if 2 * len(without) > len(rows):
        example = f"{len(without):,} of its first {len(rows):,} captions have no letter, such as {without[0].text!r}"
        hint = "give a file with texts, or name their column in captions.columns.caption, in config/config.yaml"
        raise InputError(without[0].path, without[0].place, example, hint)


def _check_english(rows: Sequence[Row]) -> None:
    """Raise InputError if most letters of the captions are not Latin."""
    letters = [letter for row in rows for letter in row.text if letter.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    if 2 * latin < len(letters):
        share = f"{len(letters) - latin:,} of the {len(letters):,} letters of its first captions are not Latin"
        hint = "set captions.language, such as zh, ja or ar, in config/config.yaml"
        raise InputError(rows[0].path, "", f"{share}, and captions.language=en would count their words wrong", hint)


class ShardSorter:
    """Rows sorted by shard in a temporary file in `folder`, so that they need not all be in memory.

    The file has no name: it is gone when it is closed or its process is killed. A single batch stays in memory, so
    that nothing is written for a small corpus.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first: list[tuple[pa.Table, np.ndarray]] = []
        self._file: IO[bytes] | None = None
        self._writer: Any = None
        self._reader: Any = None
        self._parts: defaultdict[int, list[int]] = defaultdict(list)  # by shard, their numbers in the file
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, rows: pa.Table, shards: Sequence[int]) -> None:
        """Add a batch of rows, each to the shard at its place in `shards`."""
        batch = rows, np.asarray(shards)
        if self._writer is None and not self._first:
            self._first.append(batch)
            return
        for each in [*self._first, batch]:
            self._write(*each)
        self._first.clear()

    def read(self, shard: int, schema: pa.Schema) -> pa.Table:
        """The rows of a shard, in the order in which they were added; nothing can be added afterwards."""
        if self._writer is None:
            parts = [rows.filter(shards == shard) for rows, shards in self._first]
            return pa.concat_tables([schema.empty_table(), *parts])
        if self._reader is None:
            self._writer.close()
            self._reader = pa.ipc.open_file(self._file)
        return pa.Table.from_batches([self._reader.get_batch(number) for number in self._parts[shard]], schema)

    def _write(self, rows: pa.Table, shards: np.ndarray) -> None:
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115, closed on exit
            self._writer = pa.ipc.new_file(self._file, rows.schema)
        order = np.argsort(shards, kind="stable")
        ordered, numbers = rows.take(order).combine_chunks(), shards[order]
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
            (part,) = ordered.slice(start, end - start).to_batches()
            self._writer.write_batch(part)
            self._parts[int(numbers[start])].append(self._written)
            self._written += 1
