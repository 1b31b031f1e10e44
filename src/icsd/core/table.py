"""A kind of table: its name, version, columns and key, and the stamp of its files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from icsd.core.errors import AGAIN, InputError
from icsd.core.text import truncated

STAMP = b"icsd"
HUGGINGFACE = b"huggingface"
Rows: TypeAlias = Sequence[Mapping[str, Any]] | pa.Table


@dataclass(frozen=True)
class Table:
    """A kind of table. `key` columns together are unique; `image` names the column that `datasets` shows as images.

    Columns that are `optional` are null in files that were written before they were introduced. A file of an `indexed`
    table tells where each image lies in it.
    """

    name: str
    version: int
    schema: pa.Schema
    key: tuple[str, ...]
    image: str | None = None
    optional: tuple[str, ...] = ()
    indexed: bool = False

    @property
    def stamp(self) -> bytes:
        """The stamp in the metadata of a file of this kind."""
        return json.dumps({"table": self.name, "version": self.version}).encode()

    def metadata(self) -> dict[bytes, bytes]:
        """The file's metadata: the stamp, and the feature types for `datasets` where there are images."""
        if self.image is None:
            return {STAMP: self.stamp}
        features = {field.name: _feature(field, self.image) for field in self.schema}
        return {STAMP: self.stamp, HUGGINGFACE: json.dumps({"info": {"features": features}}).encode()}

    def data(self, rows: Rows) -> pa.Table:
        """The rows in this table's schema; pa.ArrowInvalid for a value that doesn't fit."""
        data = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=self.schema)
        return data.select(self.schema.names).cast(self.schema)

    def cast(self, data: pa.Table, names: Sequence[str]) -> pa.Table:
        """The columns `names` of what was read from a file; optional ones that it does not have are null."""
        for name in set(self.optional) & set(names) - set(data.column_names):
            data = data.append_column(name, pa.nulls(len(data), self.schema.field(name).type))
        # Parquet calls a list's field "element" where Arrow says "item": the cast makes them equal
        return data.select(names).cast(pa.schema([self.schema.field(name) for name in names]))

    def check(self, path: Path | str, schema: pa.Schema) -> None:
        """Raise an InputError unless a file with this schema is a table of this kind and version, with its columns."""
        stamp = (schema.metadata or {}).get(STAMP)
        if stamp != self.stamp:
            other = "a Parquet file without this project's stamp"
            found = truncated(stamp.decode(errors="replace")) if stamp else other
            problem = f"is not a table {self.name} of version {self.version} but {found}"
            raise InputError(path, "", problem, AGAIN)
        missing = [name for name in self.schema.names if name not in {*schema.names, *self.optional}]
        if missing:
            raise InputError(path, missing[0], f"the column is missing from the table {self.name}", AGAIN)


def _feature(field: pa.Field, image: str) -> dict[str, Any]:
    if field.name == image:
        return {"_type": "Image"}
    if pa.types.is_list(field.type):
        return {"feature": {"dtype": str(field.type.value_type), "_type": "Value"}, "_type": "List"}
    return {"dtype": str(field.type), "_type": "Value"}
