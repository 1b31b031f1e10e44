"""Captions: a corpus as published, sorted into shards."""

import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import shard_of
from icsd.core.partition import Spill
from icsd.corpora import Corpus, Row

RUN = 100_000  # captions in memory at once, before they are spilled
_log = logging.getLogger(__name__)


def read_captions(corpus: Corpus, max_characters: int, captions: Path, shards: int) -> None:
    """Write the CAPTIONS of a corpus, by id, each in the shard that its id's hash names.

    A corpus without splits gives the word that is asked for as the captions' split. The corpus is read as a
    stream, and only a shard of it is in memory at once. InputError, naming the record, for all that is missing,
    doubled or misshapen, for a caption longer than `max_characters`, and for a corpus or split without captions.
    """
    rows, ids = corpus.captions(), list[np.ndarray]()
    with Spill(captions.parent) as spill:
        while run := list(islice(rows, RUN)):
            for row in run:
                _check_length(row, max_characters)
            table = _table(run, corpus.split)
            ids.append(table["caption_id"].to_numpy())
            spill.add(table, [shard_of(row.caption_id, shards) for row in run])
            _log.info("captions: %s are read", f"{sum(map(len, ids)):,}")
        _check_distinct(corpus, np.concatenate(ids))
        by_shard = (spill.read(shard, tables.CAPTIONS.schema).sort_by("caption_id") for shard in range(shards))
        tables.write_batches(captions, tables.CAPTIONS, by_shard)


def _table(run: Sequence[Row], split: str | None) -> pa.Table:
    columns = {
        "caption_id": [row.caption_id for row in run],
        "image_id": [row.image_id for row in run],
        "caption": [row.text for row in run],
        "split": [row.split or split for row in run],
    }
    return pa.table(columns, schema=tables.CAPTIONS.schema)


def _check_distinct(corpus: Corpus, ids: np.ndarray) -> None:
    """InputError for an id that two captions have: they are looked for once more, since no place was kept."""
    ids = np.sort(ids)
    same = ids[1:][ids[1:] == ids[:-1]]
    if len(same):
        first, second = islice((row for row in corpus.captions() if row.caption_id == same[0]), 2)
        problem = f"doubles the id {second.caption_id} of {first.path}, {first.place}"
        raise InputError(second.path, second.place, problem, "keep one of the two, or give no ids")


def _check_length(row: Row, limit: int) -> None:
    if len(row.text) > limit:
        problem = f"its caption has {len(row.text):,} characters, where captions.max_characters={limit:,} are allowed"
        hint = "shorten or remove it, or raise the limit in config/config.yaml"
        raise InputError(row.path, f"{row.place}, caption {row.caption_id}", problem, hint)
