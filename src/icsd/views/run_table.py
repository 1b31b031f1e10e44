"""The files of one kind of table of a run: a table that is not there yet has no rows."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.tables import Table
from icsd.corpora.entries import LARGEST_ID

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunTable:
    """The files of one kind of table of a run: one file, or one for each shard.

    `name` is the path below the run's folder, without a suffix; `title` names the rows for people. A damaged file is an
    InputError, or, with `skip_damaged`, a warning: it then counts as not there.
    """

    name: str
    title: str
    table: Table
    paths: tuple[Path, ...]
    skip_damaged: bool = False

    @cached_property
    def there(self) -> list[Path]:
        """The files that exist."""
        return [path for path in self.paths if path.is_file()]

    @property
    def missing(self) -> list[Path]:
        """The files that do not exist."""
        there = set(self.there)
        return [path for path in self.paths if path not in there]

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows of each file that exists."""
        for path in self.there:
            try:
                yield tables.read(path, self.table, columns)
            except InputError as error:
                self._skip(error)

    def rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of all files that exist."""
        return pa.concat_tables([self._empty(columns), *self.read(columns)])

    def select(
        self, wanted: Iterable[int | str], columns: Sequence[str] | None = None, key: str | None = None
    ) -> pa.Table:
        """The rows whose `key`, by default the table's own, is one of those wanted; one file is in memory at a time."""
        key = key or self.table.key[0]
        values = pa.array(list(wanted), self.table.schema.field(key).type)
        selected = (rows.filter(pc.is_in(rows[key], value_set=values)) for rows in self.read(columns))
        return pa.concat_tables([self._empty(columns), *selected])

    def find(self, value: int | str, columns: Sequence[str] | None = None) -> tuple[Path, dict[str, Any]] | None:
        """The file that has a row with this key, and the row; None if no file has."""
        if isinstance(value, int) and abs(value) > LARGEST_ID:
            return None
        key = self.table.key[0]
        for path in self.there:
            keys = tables.read(path, self.table, columns=[key])[key]
            index = pc.index(keys, pa.scalar(value, keys.type)).as_py()
            if index >= 0:
                return path, tables.read(path, self.table, columns).slice(index, 1).to_pylist()[0]
        return None

    def count(self) -> int:
        """The number of rows in all files that exist; the rows are not read."""
        return sum(self._count(path) for path in self.there)

    def counts(self) -> list[int | None]:
        """The number of rows in each file, None for one that does not exist."""
        there = set(self.there)
        return [self._count(path) if path in there else None for path in self.paths]

    def _count(self, path: Path) -> int:
        try:
            return tables.count(path, self.table)
        except InputError as error:
            self._skip(error)
            return 0

    def _skip(self, error: InputError) -> None:
        if not self.skip_damaged:
            raise error
        _log.warning("taken as not there: %s", error)

    def _empty(self, columns: Sequence[str] | None) -> pa.Table:
        return self.table.schema.empty_table().select(list(columns) if columns else self.table.schema.names)
