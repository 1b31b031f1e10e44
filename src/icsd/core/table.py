"""A kind of table: its name, version, columns and key, and the stamp of its files."""

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

STAMP = b"icsd"
HUGGINGFACE = b"huggingface"


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


def _feature(field: pa.Field, image: str) -> dict[str, Any]:
    if field.name == image:
        return {"_type": "Image"}
    if pa.types.is_list(field.type):
        return {"feature": {"dtype": str(field.type.value_type), "_type": "Value"}, "_type": "List"}
    return {"dtype": str(field.type), "_type": "Value"}
