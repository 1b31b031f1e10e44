"""A run's folder, read as far as it is there."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from icsd import tables
from icsd.errors import InputError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """The folder and the names of the shards that its tables have."""

    path: Path
    shards: Sequence[str]

    def found(self, folder: str, table: tables.Table, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of each shard that is there; one that cannot be read is a warning, since snakemake makes it anew."""
        for shard in self.shards:
            yield from self._read(f"{folder}/{shard}.parquet", table, columns)

    def whole(self, name: str, table: tables.Table, columns: Sequence[str]) -> pa.Table | None:
        """The rows of the file `name`; None where it is not there."""
        return next(self._read(name, table, columns), None)

    def _read(self, name: str, table: tables.Table, columns: Sequence[str]) -> Iterator[pa.Table]:
        path = self.path / name
        if path.exists():
            try:
                yield tables.read(path, table, columns)
            except InputError as error:
                _log.warning("taken as not there: %s", error)

    def rows(self, folder: str, table: tables.Table) -> int:
        """How many rows the shards have that are there."""
        return sum(len(rows) for rows in self.found(folder, table, table.key[:1]))


def bytes_in(folder: Path) -> int:
    """The size of a file, or of all files below a folder; 0 where it is not there."""
    if folder.is_file():
        return folder.stat().st_size
    paths = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return sum(path.lstat().st_size for path in paths)
