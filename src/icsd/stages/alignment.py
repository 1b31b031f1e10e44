"""Alignment: how well each picture shows its sentence and each of its captions, and which other pictures show them."""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from icsd.config.arms import captions_with_anchor
from icsd.core import tables
from icsd.core.errors import AGAIN, InputError
from icsd.core.vectors import from_lists, to_lists, unit_on_grid

Row = Mapping[str, Any]
DIGITS = 5  # of a score, so that the rounding of another batch does not change a table
SETTING = "alignment.model"
_log = logging.getLogger(__name__)


class Encoder(Protocol):
    """An image-text model, such as icsd.models.open_clip_model.ClipModel: unit vectors [n, d] float32."""

    def pictures(self, files: Iterable[bytes], total: int, batch_size: int) -> np.ndarray:
        """Encode picture files."""

    def texts(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Encode texts."""


@dataclass(frozen=True)
class ShardTables:
    """The tables of one shard of a drawing: its SENTENCES and IMAGES, and the CAPTIONS of the corpus."""

    sentences: Path
    images: Path
    captions: Path
    shard: str | None = None


def score_alignment(
    shard: ShardTables,
    alignment: Path,
    model: str,
    batch_size: int,
    vectors: Path | None = None,
    encoder: Encoder | None = None,
) -> None:
    """Write the ALIGNMENT of a shard's pictures: the cosine of each with its sentence and with each of its captions.

    The model encodes each picture and each different text once. With `vectors` the shard's CLIP_VECTORS are written
    there: of its pictures, and of all their captions. A sentence without a picture has no scores. An empty shard needs
    no model. ModelError for the model, InputError for bytes that are no picture or tables that do not belong together.
    """
    rows, texts = _read(shard.sentences, shard.captions, shard.shard)
    if not rows:
        _write_empty(alignment, vectors)
        return
    images = tables.read(shard.images, tables.IMAGES, ["image_id", "image"])
    _check_same(shard, rows, images["image_id"].to_pylist())
    if images["image"].null_count:  # a server drew no picture of some sentences
        images = images.filter(pc.is_valid(images["image"]))
        drawn = set(images["image_id"].to_pylist())
        rows = [row for row in rows if row["image_id"] in drawn]
        texts = {number: texts[number] for row in rows for number in captions_with_anchor(row)}
    if not rows:
        _write_empty(alignment, vectors)
        return
    clip = encoder or _load(model)
    seen = clip.pictures((image["bytes"].as_py() for image in images["image"]), len(images), batch_size)
    distinct = sorted({*texts.values(), *(row["sentence"] for row in rows)})
    read = dict(zip(distinct, clip.texts(distinct, batch_size), strict=True))
    by_image = dict(zip(images["image_id"].to_pylist(), seen, strict=True))
    found = [
        (row["image_id"], caption_id, float(by_image[row["image_id"]] @ read[text]))
        for row in rows
        for caption_id, text in _texts_of(row, texts)
    ]
    _write(alignment, found)
    if vectors:
        _write_vectors(vectors, by_image, {caption_id: read[text] for caption_id, text in texts.items()})


def score_at_random(sentences: Path, captions: Path, alignment: Path, shard: str | None = None) -> None:
    """Write an ALIGNMENT of numbers between 0 and 1 by the hash of the ids: a control without model and images."""
    rows, texts = _read(sentences, captions, shard)
    found = [
        (row["image_id"], caption_id, _random(f"{row['image_id']}/{caption_id}"))
        for row in rows
        for caption_id, _ in _texts_of(row, texts)
    ]
    _write(alignment, found)


def _read(sentences: Path, captions: Path, shard: str | None) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Return the shard's sentences, and the text of each of their captions."""
    columns = ["image_id", "sentence", "group_id", "caption_ids"]
    rows = tables.read(sentences, tables.SENTENCES, columns, shard=shard).to_pylist()
    wanted = {caption_id for row in rows for caption_id in captions_with_anchor(row)}
    texts = _texts(captions, wanted)
    for row in rows:
        if missing := [caption_id for caption_id in captions_with_anchor(row) if caption_id not in texts]:
            raise InputError(sentences, row["image_id"], f"caption {missing[0]} is not among the captions", AGAIN)
    return rows, texts


def _texts(captions: Path, wanted: set[int]) -> dict[int, str]:
    """The text of the captions `wanted`; one shard of the table is in memory at a time."""
    ids = pa.array(sorted(wanted), tables.ID)
    texts = dict[int, str]()
    for part in tables.parts(captions, tables.CAPTIONS, ["caption_id", "caption"]):
        found = part.filter(pc.is_in(part["caption_id"], value_set=ids))
        texts.update(zip(found["caption_id"].to_pylist(), found["caption"].to_pylist(), strict=True))
    return texts


def _texts_of(row: Row, texts: Mapping[int, str]) -> list[tuple[int | None, str]]:
    """The sentence, whose id is None, and the captions."""
    return [(None, row["sentence"]), *((caption_id, texts[caption_id]) for caption_id in captions_with_anchor(row))]


def _check_same(shard: ShardTables, rows: Sequence[Row], image_ids: Sequence[str]) -> None:
    differing = sorted({row["image_id"] for row in rows} ^ set(image_ids))
    if differing:
        problem = f"{len(differing):,} images are in only one of this table and {shard.sentences}"
        raise InputError(shard.images, differing[0], problem, AGAIN)


def _load(model: str) -> Encoder:
    from icsd.models.open_clip_model import load_clip_model  # late: an empty shard needs no torch

    return load_clip_model(model, SETTING)


def _random(name: str) -> float:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big") / 2**48


def _write(alignment: Path, found: Sequence[tuple[str, int | None, float]]) -> None:
    scores = [score for _, caption_id, score in found if caption_id is not None]
    if scores:
        quartiles = ", ".join(f"{value:.3f}" for value in np.quantile(scores, [0.25, 0.5, 0.75]))
        _log.info("alignment: %s pairs, quartiles of their scores %s", f"{len(scores):,}", quartiles)
    rows = [
        {"image_id": image, "caption_id": caption, "score": round(score, DIGITS)} for image, caption, score in found
    ]
    tables.write(alignment, tables.ALIGNMENT, rows)


def _write_empty(alignment: Path, vectors: Path | None) -> None:
    tables.write(alignment, tables.ALIGNMENT, [])
    if vectors:
        tables.write(vectors, tables.CLIP_VECTORS, [])


def _write_vectors(path: Path, pictures: Mapping[str, np.ndarray], captions: Mapping[int, np.ndarray]) -> None:
    """Write vectors on the grid of `core.vectors`, so that later products do not depend on blocks or machines.

    A caption of several shards is in each of them, under the id of the shard's first picture.
    """
    owner = min(pictures)
    data = {
        "image_id": [*pictures, *[owner] * len(captions)],
        "caption_id": pa.array([*[None] * len(pictures), *captions], tables.ID),
        "embedding": to_lists(unit_on_grid(np.stack([*pictures.values(), *captions.values()]))),
    }
    tables.write(path, tables.CLIP_VECTORS, pa.table(data))


# --- Other pictures for a caption -------------------------------------------------------------------------------------


def gather_picture_vectors(shards: Sequence[Path | str], pictures: Path | str) -> None:
    """Join the pictures' rows of CLIP_VECTORS for jobs that each need them all; one file is in memory at a time."""
    tables.write_batches(pictures, tables.CLIP_VECTORS, (_rows(path, of_captions=False) for path in shards))


def match_captions(shard: Path | str, pictures: Path | str, matches: Path | str, k: int) -> None:
    """Write the ALIGNMENT of the captions in a shard's CLIP_VECTORS with the k nearest of `pictures`.

    The search is exact, by blocks. The nearest of each caption comes first.
    """
    captions, images = _rows(shard, of_captions=True), _rows(pictures, of_captions=False)
    if not len(captions) or not len(images):
        tables.write(matches, tables.ALIGNMENT, [])
        return
    from icsd.models.neighbors import nearest  # late: an empty shard needs no torch

    queries, corpus = from_lists(captions["embedding"]), from_lists(images["embedding"])
    found = nearest(queries, corpus, min(k, len(corpus)))
    image_ids = images["image_id"].to_pylist()
    rows = [
        {"image_id": image_ids[column], "caption_id": caption_id, "score": round(float(score), DIGITS)}
        for caption_id, columns, scores in zip(
            captions["caption_id"].to_pylist(), found.columns, found.similarities, strict=True
        )
        for column, score in zip(columns, scores, strict=True)
    ]
    tables.write(matches, tables.ALIGNMENT, rows)


def _rows(path: Path | str, *, of_captions: bool) -> pa.Table:
    """The rows of CLIP_VECTORS that are of captions, or of pictures."""
    table = tables.read(path, tables.CLIP_VECTORS)
    return table.filter(table["caption_id"].is_valid() if of_captions else table["caption_id"].is_null())
