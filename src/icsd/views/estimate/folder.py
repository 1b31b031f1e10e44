"""A run's folder, read as far as it is there."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from icsd.core import tables


@dataclass(frozen=True)
class RunFolder:
    """The folder and the names of the shards that its tables have."""

    path: Path
    shards: Sequence[str]

    def found(self, folder: str, table: tables.Table, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of each shard that is there."""
        return tables.there([self.path / folder / f"{shard}.parquet" for shard in self.shards], table, columns)

    def whole(self, name: str, table: tables.Table, columns: Sequence[str]) -> pa.Table | None:
        """The rows of the file `name`; None where it is not there."""
        return next(tables.there([self.path / name], table, columns), None)

    def rows(self, folder: str, table: tables.Table) -> int:
        """How many rows the shards have that are there."""
        return sum(len(rows) for rows in self.found(folder, table, table.key[:1]))


def bytes_in(folder: Path) -> int:
    """The size of a file, or of all files below a folder; 0 where it is not there."""
    if folder.is_file():
        return folder.stat().st_size
    paths = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return sum(path.lstat().st_size for path in paths)
