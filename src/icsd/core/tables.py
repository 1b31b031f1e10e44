"""The tables of the project: their columns and keys, and the one way to read and to write them.

A table is a Parquet file with an explicit schema, stamped with its name and version. It is written under a temporary
name and renamed, so that it is whole or missing. A table that a single job writes for the jobs of all shards has one
row group per shard.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from icsd.core import files
from icsd.core.errors import AGAIN, InputError
from icsd.core.ids import shard_number, shard_of
from icsd.core.keys import doubled_key, may_hold
from icsd.core.picture_index import IndexedWriter, read_index
from icsd.core.table import Rows, Table

ABOUT = b"icsd_about"
_log = logging.getLogger(__name__)

ID = pa.int64()
TEXT = pa.string()
NUMBER = pa.float64()
IMAGE = pa.struct([("bytes", pa.binary()), ("path", TEXT)])  # as the datasets library stores images


def _table(
    name: str,
    columns: Mapping[str, pa.DataType],
    key: Sequence[str],
    version: int = 1,
    image: str | None = None,
    optional: Sequence[str] = (),
    indexed: bool = False,
) -> Table:
    return Table(name, version, pa.schema(list(columns.items())), tuple(key), image, tuple(optional), indexed)


CAPTIONS = _table("captions", {"caption_id": ID, "image_id": ID, "caption": TEXT, "split": TEXT}, ["caption_id"])
EMBEDDINGS = _table("embeddings", {"caption_id": ID, "embedding": pa.list_(pa.float32())}, ["caption_id"])
NEIGHBORS = _table(
    "neighbors",
    {"caption_id": ID, "neighbor_ids": pa.list_(ID), "similarities": pa.list_(pa.float32())},
    ["caption_id"],
)
GROUPS = _table(
    "groups",
    {"group_id": ID, "caption_ids": pa.list_(ID), "similarities": pa.list_(pa.float32())},
    ["group_id"],
)
GROUP_TIMES = _table("group_times", {"caption_id": ID, "group_times": pa.int32()}, ["caption_id"])
SUMMARIES = _table(
    "summaries",
    {
        "group_id": ID, "summary": TEXT, "selected": pa.list_(ID), "status": TEXT, "reason": TEXT,
        "prompt_tokens": pa.int64(), "completion_tokens": pa.int64(), "model": TEXT, "prompt_hash": TEXT,
        "lenient": pa.bool_(), "unsupported": pa.list_(TEXT), "covered": pa.list_(ID), "image_tokens": pa.int64(),
    },
    ["group_id"],
    version=2,
    optional=["lenient"],
)  # fmt: skip
PROMPTS = _table("prompts", {"prompt": TEXT, "measure": TEXT, "value": NUMBER}, ["prompt", "measure"])
SENTENCES = _table(
    "sentences",
    {
        "image_id": TEXT, "arm": TEXT, "sentence": TEXT, "group_id": ID, "caption_ids": pa.list_(ID), "seed": ID,
        "prompt_hash": TEXT,
    },
    ["image_id"],
)  # fmt: skip
# a sentence that a server drew no image of has no `image`, but a `reason`
IMAGES = _table(
    "images",
    {"image_id": TEXT, "image": IMAGE, "sentence": TEXT, "seed": ID, "model": TEXT, "reason": TEXT},
    ["image_id"],
    image="image",
    optional=["reason"],
    indexed=True,
)
DOMAINS = _table("domains", {"image_id": ID, "domain": TEXT}, ["image_id"])
SAFETY = _table("safety", {"image_id": TEXT, "score": pa.float32(), "verdict": TEXT}, ["image_id"])
# how well an image shows a caption, or, where caption_id is null, the sentence that it was drawn from
ALIGNMENT = _table("alignment", {"image_id": TEXT, "caption_id": ID, "score": pa.float32()}, ["image_id", "caption_id"])
# the weight of a pair in the loss of the training; null counts as 1
PAIRS = _table(
    "pairs",
    {"image_id": TEXT, "caption_id": ID, "caption": TEXT, "weight": pa.float32()},
    ["image_id", "caption_id"],
    optional=["weight"],
)
# the exported dataset: a picture with all its captions in PAIRS
EXPORTED = _table(
    "exported",
    {
        "image_id": TEXT, "image": IMAGE, "captions": pa.list_(TEXT), "caption_ids": pa.list_(ID), "sentence": TEXT,
        "seed": ID, "model": TEXT,
    },
    ["image_id"],
    image="image",
)  # fmt: skip
# the same where pairs have weights
EXPORTED_WITH_WEIGHTS = replace(EXPORTED, schema=EXPORTED.schema.append(pa.field("weights", pa.list_(pa.float32()))))
LEDGER = _table("ledger", {"stage": TEXT, "item_id": TEXT, "kept": pa.bool_(), "reason": TEXT}, ["stage", "item_id"])
HISTORY = _table(
    "history",
    {"step": pa.int64(), "loss": NUMBER, "learning_rate": NUMBER, "metric": TEXT, "value": NUMBER},
    ["step", "metric"],
)
PREDICTIONS = _table("predictions", {"image_id": TEXT, "caption": TEXT}, ["image_id"])
# a picture's vector has no caption_id, those of its captions have theirs
CLIP_VECTORS = _table(
    "clip_vectors",
    {"image_id": TEXT, "caption_id": ID, "embedding": pa.list_(pa.float32())},
    ["image_id", "caption_id"],
)
SCORES = _table(
    "scores",
    {"arm": TEXT, "seed": pa.int64(), "test": TEXT, "metric": TEXT, "value": NUMBER, "low": NUMBER, "high": NUMBER},
    ["arm", "seed", "test", "metric"],
    version=2,
)
QUALITY = _table(
    "quality", {"model": TEXT, "measure": TEXT, "value": NUMBER, "items": pa.int64()}, ["model", "measure"]
)
# a captioner's caption of a test picture: CIDEr, the counts that BLEU sums, objects named, and those that are true
CAPTION_COUNTS = _table(
    "caption_counts",
    {
        "arm": TEXT, "seed": ID, "image_id": TEXT, "cider": pa.float32(), "bleu": pa.list_(pa.float32()),
        "named": pa.float32(), "true": pa.float32(),
    },
    ["arm", "seed", "image_id"],
)  # fmt: skip


def write(path: Path | str, table: Table, rows: Rows, about: Mapping[str, str] | None = None) -> None:
    """Write rows as a file of this kind; ValueError for a doubled key, pa.ArrowInvalid for a value that doesn't fit.

    `about` describes the origin of the rows, for `tables.about`.
    """
    data = table.data(rows)
    _check_distinct(path, table, data)
    with files.atomic_path(path) as unfinished:
        metadata = table.metadata() | ({ABOUT: json.dumps(about).encode()} if about else {})
        with _writer(unfinished, table, table.schema.with_metadata(metadata)) as writer:
            writer.write_table(data.replace_schema_metadata(metadata))


def write_batches(path: Path | str, table: Table, batches: Iterable[Rows]) -> None:
    """Write batches of rows, which need not be in memory at once; each batch, such as a shard, is a row group."""
    keys = [table.schema.empty_table().select(table.key)]
    with files.atomic_path(path) as unfinished:
        schema = table.schema.with_metadata(table.metadata())
        with _writer(unfinished, table, schema) as writer:
            for rows in batches:
                data = table.data(rows)
                keys.append(data.select(table.key))
                writer.write_table(data.replace_schema_metadata(schema.metadata), row_group_size=max(len(data), 1))
        _check_distinct(path, table, pa.concat_tables(keys))


def _writer(path: Path, table: Table, schema: pa.Schema) -> pq.ParquetWriter | IndexedWriter:
    if table.indexed and table.image is not None:
        return IndexedWriter(path, schema, table.image)
    return pq.ParquetWriter(path, schema, compression="zstd")


def read(path: Path | str, table: Table, columns: Sequence[str] | None = None, *, shard: str | None = None) -> pa.Table:
    """The rows of a file of this kind: all or some columns, and all shards or one that `write_batches` wrote.

    InputError if the file is missing, cut short, of another kind or version, or of another number of shards.
    """
    names = list(columns) if columns else table.schema.names
    with _opened(path, table) as file:
        data = file.read(names) if shard is None else file.read_row_group(_row_group(path, file, shard), names)
    return table.cast(data, names)


def select(
    path: Path | str, table: Table, key: str, wanted: pa.Array, columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows whose column `key` has one of the `wanted` values; other row groups are not read. Errors as `read`.

    Where the key is unique, the row groups are read first that have the values if each is a shard.
    """
    names = list(columns) if columns else table.schema.names
    with _opened(path, table) as file:
        groups = [i for i in range(file.num_row_groups) if may_hold(file.metadata.row_group(i), key, wanted)]
        if (key,) == table.key and len(wanted) < len(groups):
            own = {shard_of(value, file.num_row_groups) for value in wanted.to_pylist()}
            found = _selected(file, table, key, wanted, names, [i for i in groups if i in own])
            if len(found) == len(wanted):
                return found
        return _selected(file, table, key, wanted, names, groups)


def _selected(
    file: pq.ParquetFile, table: Table, key: str, wanted: pa.Array, names: list[str], groups: Sequence[int]
) -> pa.Table:
    found = [table.schema.empty_table().select(names)]
    for number in groups:
        rows = pc.is_in(file.read_row_group(number, [key])[key], value_set=wanted)
        if pc.any(rows).as_py():
            found.append(table.cast(file.read_row_group(number, names), names).filter(rows))
    return pa.concat_tables(found)


def parts(path: Path | str, table: Table, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows one row group at a time, so that they need not be in memory at once; errors as `read`."""
    names = list(columns) if columns else table.schema.names
    with _opened(path, table) as file:
        for number in range(file.num_row_groups):
            yield table.cast(file.read_row_group(number, names), names)


def _row_group(path: Path | str, file: pq.ParquetFile, shard: str) -> int:
    number, shards = shard_number(shard)
    if file.num_row_groups != shards:
        raise InputError(path, shard, f"the file has {file.num_row_groups:,} shards", AGAIN)
    return number


def about(path: Path | str, table: Table) -> dict[str, str] | None:
    """The origin of the rows, as given to `write`: empty if unknown, None if there are no rows; errors as `read`."""
    with _opened(path, table) as file:
        origin = (file.schema_arrow.metadata or {}).get(ABOUT)
        return None if file.metadata.num_rows == 0 else json.loads(origin or b"{}")


def count(path: Path | str, table: Table) -> int:
    """Number of rows of a file of this kind, without reading them; errors as `read`."""
    with _opened(path, table) as file:
        return int(file.metadata.num_rows)


def count_parts(path: Path | str, table: Table) -> int:
    """Number of row groups of a file of this kind, the shards of one by `write_batches`; errors as `read`."""
    with _opened(path, table) as file:
        return int(file.num_row_groups)


def picture_index(path: Path | str) -> tuple[pa.ChunkedArray, np.ndarray | None]:
    """The ids of an IMAGES file and the picture_index.ENTRY of each row, None if it has no index; errors as `read`."""
    with _opened(path, IMAGES) as file:
        return file.read(["image_id"])["image_id"], read_index(file.metadata.metadata or {})


@contextmanager
def _opened(path: Path | str, table: Table) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            table.check(path, file.schema_arrow)
            yield file
    except FileNotFoundError as error:
        hint = "run snakemake, which makes it, or mend the path"
        raise InputError(path, "", "there is no such file", hint) from error
    except (pa.ArrowException, OSError) as error:
        problem = f"is no whole Parquet file ({str(error).splitlines()[0]}); was it cut short?"
        raise InputError(path, "", problem, AGAIN) from error


def concat(paths: Sequence[Path | str], table: Table, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of several files of this kind, in the order of `paths`."""
    return pa.concat_tables([read(path, table, columns) for path in paths])


def gather(paths: Sequence[Path | str], table: Table, path: Path | str, wanted: pa.ChunkedArray | None = None) -> None:
    """Write the rows of several files of this kind into one, for jobs that need them all; or those of `wanted` keys.

    Each file is a row group, and one is in memory at once.
    """
    keys = None if wanted is None else wanted.combine_chunks()
    rows = (read(each, table) for each in paths)
    write_batches(path, table, rows if keys is None else (_of_keys(each, table.key[0], keys) for each in rows))
    _log.info("%s: %s rows of %s shards", table.name, f"{count(path, table):,}", f"{len(paths):,}")


def _of_keys(rows: pa.Table, key: str, keys: pa.Array) -> pa.Table:
    return rows.filter(pc.is_in(rows[key], value_set=keys))


def _check_distinct(path: Path | str, table: Table, data: pa.Table) -> None:
    doubled = doubled_key(data, table.key)
    if doubled:
        raise ValueError(f"{path}: a table of {table.name} with a doubled {', '.join(table.key)}: {doubled}")
