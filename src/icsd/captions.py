"""Captions: a corpus as published, spread over shards."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icsd import tables
from icsd.coco import read_annotations
from icsd.errors import InputError
from icsd.sharding import shard_of

_log = logging.getLogger(__name__)


def read_captions(annotations: Path, split: str, max_characters: int, shards: Sequence[Path]) -> None:
    """Write the CAPTIONS of a COCO annotation file, by id, each in the shard that its id's hash names.

    InputError, naming the record, for all that is missing, doubled or misshapen, for a caption longer than
    `max_characters`, and for a file without captions.
    """
    found = read_annotations(annotations)
    if not found.captions:
        raise InputError(annotations, "annotations", "holds no caption", "give a file with captions")
    by_shard: list[list[dict[str, Any]]] = [[] for _ in shards]
    for caption_id, image_id, caption in sorted(found.captions):
        _check_length(annotations, caption_id, caption, max_characters)
        row = {"caption_id": caption_id, "image_id": image_id, "caption": caption, "split": split}
        by_shard[shard_of(caption_id, len(shards))].append(row)
    for path, rows in zip(shards, by_shard, strict=True):
        tables.write(path, tables.CAPTIONS, rows)
    _log.info("captions: %s of %s pictures", f"{len(found.captions):,}", f"{len(found.file_names):,}")


def _check_length(path: Path, caption_id: int, caption: str, limit: int) -> None:
    if len(caption) > limit:
        problem = f"its caption has {len(caption):,} characters, where captions.max_characters={limit:,} are allowed"
        hint = "shorten or remove it, or raise the limit in config/config.yaml"
        raise InputError(path, f"annotation {caption_id}", problem, hint)
