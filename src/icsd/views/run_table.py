"""The files of one kind of table of a run: a table that is not there yet has no rows."""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import shard_names, shard_number, shard_of
from icsd.core.table import Table
from icsd.corpora.entries import LARGEST_ID

SHARD = re.compile(r"\d{4}-of-\d{4}")  # the name of a shard's file
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
        """The rows whose `key`, by default the table's own, is one of those wanted; other row groups are not read."""
        key = key or self.table.key[0]
        values = pa.array(list(wanted), self.table.schema.field(key).type)
        likely = self._likely(values.to_pylist()) if key == self.table.key[0] else self.there
        found = self._select(likely, key, values, columns)
        if likely != self.there and pc.count_distinct(found[key]).as_py() < len(pc.unique(values)):
            return self._select(self.there, key, values, columns)
        return found

    def find(self, value: int | str, columns: Sequence[str] | None = None) -> tuple[Path, dict[str, Any]] | None:
        """The file that has a row with this key, and the row; None if no file has."""
        if isinstance(value, int) and abs(value) > LARGEST_ID:
            return None
        key = self.table.key[0]
        wanted, likely = pa.array([value], self.table.schema.field(key).type), self._likely([value])
        for path in [*likely, *(path for path in self.there if path not in set(likely))]:
            if len(rows := tables.select(path, self.table, key, wanted, columns)):
                return path, rows.slice(0, 1).to_pylist()[0]
        return None

    def _likely(self, values: Sequence[int | str]) -> list[Path]:
        """The files of the shards of these keys, as stages put them there; all files if they are in no shards."""
        if not self.there or not SHARD.fullmatch(self.there[0].stem) or len(values) > len(self.there):
            return self.there
        shards = shard_number(self.there[0].stem)[1]
        names = shard_names(shards)
        named = {names[shard_of(value, shards)] for value in values}
        return [path for path in self.there if path.stem in named]

    def _select(self, paths: Sequence[Path], key: str, wanted: pa.Array, columns: Sequence[str] | None) -> pa.Table:
        names = None if columns is None else list(dict.fromkeys([*columns, key]))
        found = [self._empty(names)]
        for path in paths:
            try:
                found.append(tables.select(path, self.table, key, wanted, names))
            except InputError as error:
                self._skip(error)
        return pa.concat_tables(found)

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
