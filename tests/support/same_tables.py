"""The tables of two runs, compared by content."""

import io

import numpy as np
import pyarrow as pa
from checkout import Checkout
from PIL import Image

from icsd.core import tables

TABLES = {
    "embeddings": tables.EMBEDDINGS,
    "groups/neighbors": tables.NEIGHBORS,
    "summaries": tables.SUMMARIES,
    "images/multi": tables.IMAGES,
    "safety/multi": tables.SAFETY,
}
SINGLE_FILES = {
    "captions/all": tables.CAPTIONS,
    "groups/all": tables.GROUPS,
    "images/multi/sentences": tables.SENTENCES,
    "groups/group_times": tables.GROUP_TIMES,
    "dataset/multi/pairs": tables.PAIRS,
    "dataset/multi/ledger": tables.LEDGER,
    "evaluation/multi/seed-0/test/predictions": tables.PREDICTIONS,
    "evaluation/multi/seed-0/test/scores": tables.SCORES,
}


# the safety checker rounds its scores to three digits, as diffusers does: another batch can tip the last one
TOLERANCES = {"safety/multi": 1.01e-3}


def assert_same(one: Checkout, other: Checkout, name: str) -> None:
    """Assert equal rows and texts, numbers to 1e-5 or to their last digit, and pictures up to rounding."""
    tolerance = TOLERANCES.get(name, 1e-5)
    left, right = rows_of(one, name), rows_of(other, name)
    assert len(left) == len(right) > 0
    for column in left.schema:
        values = [rows[column.name].combine_chunks() for rows in (left, right)]
        if column.name == "image":
            _assert_pictures_same(*(value.to_pylist() for value in values))
        elif pa.types.is_floating(column.type):
            np.testing.assert_allclose(*values, atol=tolerance)
        elif pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type):
            np.testing.assert_allclose(*(value.flatten() for value in values), atol=1e-5)
        else:
            assert values[0].equals(values[1]), column.name


def rows_of(checkout: Checkout, name: str) -> pa.Table:
    """All shards' rows of a stage, or those of a single file, by key."""
    if name in SINGLE_FILES:
        return _sorted(tables.read(checkout.results / f"{name}.parquet", SINGLE_FILES[name]), SINGLE_FILES[name])
    shards = sorted((checkout.results / name).glob("????-of-????.parquet"))
    assert len(shards) == checkout.config["shards"]
    return _sorted(tables.concat(shards, TABLES[name]), TABLES[name])


def _sorted(rows: pa.Table, table: tables.Table) -> pa.Table:
    return rows.sort_by([(column, "ascending") for column in table.key])


def _assert_pictures_same(left: list[dict], right: list[dict]) -> None:
    for one, other in zip(left, right, strict=True):
        pixels = [np.asarray(Image.open(io.BytesIO(row["bytes"])), dtype=int) for row in (one, other)]
        assert np.abs(pixels[0] - pixels[1]).max() <= 1
        assert one["path"] == other["path"]
