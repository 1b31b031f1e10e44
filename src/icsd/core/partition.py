"""Rows sorted into shards without holding them all in memory: runs on disk, one batch a run and shard."""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa


class Spill:
    """A file without a name in `folder`, gone when it is closed or its process is killed.

    A single run stays in memory: nothing is written for a small corpus.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first: list[tuple[pa.Table, np.ndarray]] = []
        self._file: IO[bytes] | None = None
        self._writer: Any = None
        self._reader: Any = None
        self._batches: defaultdict[int, list[int]] = defaultdict(list)
        self._written = 0

    def __enter__(self) -> "Spill":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, rows: pa.Table, shards: Sequence[int]) -> None:
        """Keep a run of rows, each of the shard beside it."""
        run = rows, np.asarray(shards)
        if self._writer is None and not self._first:
            self._first.append(run)
            return
        for each in [*self._first, run]:
            self._write(*each)
        self._first.clear()

    def read(self, shard: int, schema: pa.Schema) -> pa.Table:
        """The rows of a shard, in the order of the runs; call it when all are added."""
        if self._writer is None:
            parts = [rows.filter(shards == shard) for rows, shards in self._first]
            return pa.concat_tables([schema.empty_table(), *parts])
        if self._reader is None:
            self._writer.close()
            self._reader = pa.ipc.open_file(self._file)
        return pa.Table.from_batches([self._reader.get_batch(number) for number in self._batches[shard]], schema)

    def _write(self, rows: pa.Table, shards: np.ndarray) -> None:
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115, closed on exit
            self._writer = pa.ipc.new_file(self._file, rows.schema)
        order = np.argsort(shards, kind="stable")
        ordered, numbers = rows.take(order).combine_chunks(), shards[order]
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
            (batch,) = ordered.slice(start, end - start).to_batches()
            self._writer.write_batch(batch)
            self._batches[int(numbers[start])].append(self._written)
            self._written += 1
