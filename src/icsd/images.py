"""Images: which sentences an arm draws, and a picture of each.

An arm's pictures depend on its sentences, the ids and the settings alone: neither on shards nor on batches.
"""

import hashlib
import io
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icsd import files, tables
from icsd.contact_sheet import contact_sheet
from icsd.drawn import Drawn
from icsd.logs import progress
from icsd.revisions import REVISIONS
from icsd.sharding import drawing_order, item_seed, shard_of

if TYPE_CHECKING:
    from PIL import Image

Row = Mapping[str, Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawing:
    """What determines a picture beside its sentence and seed; `size` in pixels, None for the model's own."""

    model: str
    steps: int
    guidance_scale: float
    size: int | None
    negative_prompt: str


def select_sentences(
    arm: str,
    summaries: Sequence[Path],
    captions: Sequence[Path],
    sentences: Sequence[Path],
    pictures: int,
    spare: float,
    seed: int,
) -> None:
    """Write the SENTENCES of `multi` or `single`, one file a shard of `sentences` by the image's id.

    `multi` draws `pictures` summaries at most. `single` draws as many captions and a share `spare` more, so that as
    many pictures are left when the unsafe ones have fallen away.
    """
    groups = choose_groups(tables.concat(summaries, tables.SUMMARIES).to_pylist(), pictures)
    if arm == "multi":
        rows = [_of_group(group, seed) for group in groups]
    else:
        chosen = choose_captions(_corpus(captions), math.ceil(len(groups) * (1 + spare)))
        rows = [_of_caption(arm, row, seed) for row in chosen]
    _write_sentences(arm, rows, sentences)


def select_matched_sentences(pairs: Path, captions: Sequence[Path], sentences: Sequence[Path], seed: int) -> None:
    """Write the SENTENCES of `single_matched`: each different caption of multi's PAIRS, to be drawn by itself."""
    paired = set(tables.read(pairs, tables.PAIRS, columns=["caption_id"])["caption_id"].to_pylist())
    rows = [_of_caption("single_matched", row, seed) for row in _corpus(captions) if row["caption_id"] in paired]
    _write_sentences("single_matched", rows, sentences)


def choose_groups(summaries: Iterable[Row], pictures: int) -> list[Row]:
    """The first `pictures` summaries that are ok, in an order that tells nothing of them."""
    usable = [row for row in summaries if row["status"] == "ok"]
    return sorted(usable, key=lambda row: drawing_order(row["group_id"]))[:pictures]


def choose_captions(corpus: Iterable[Row], pictures: int) -> list[Row]:
    """The first `pictures` captions, in an order that tells nothing of them."""
    return sorted(corpus, key=lambda row: drawing_order(row["caption_id"]))[:pictures]


def _corpus(captions: Sequence[Path]) -> list[dict[str, Any]]:
    return tables.concat(captions, tables.CAPTIONS, columns=["caption_id", "caption"]).to_pylist()


def _write_sentences(arm: str, rows: Sequence[Row], sentences: Sequence[Path]) -> None:
    _log.info("%s: %s sentences to draw", arm, f"{len(rows):,}")
    by_shard: list[list[Row]] = [[] for _ in sentences]
    for row in rows:
        by_shard[shard_of(row["image_id"], len(sentences))].append(row)
    for path, shard in zip(sentences, by_shard, strict=True):
        tables.write(path, tables.SENTENCES, shard)


def _of_group(group: Row, seed: int) -> dict[str, Any]:
    row = _sentence("multi", group["group_id"], group["summary"], group["selected"], seed)
    return row | {"group_id": group["group_id"], "prompt_hash": group["prompt_hash"]}


def _of_caption(arm: str, row: Row, seed: int) -> dict[str, Any]:
    return _sentence(arm, row["caption_id"], row["caption"], [row["caption_id"]], seed)


def _sentence(arm: str, number: int, sentence: str, captions: Sequence[int], seed: int) -> dict[str, Any]:
    image_id = f"{arm}-{number}"
    row = {"image_id": image_id, "arm": arm, "sentence": sentence, "caption_ids": list(captions)}
    return row | {"seed": item_seed(image_id, seed), "group_id": None, "prompt_hash": None}


def generate_images(
    sentences: Path, images: Path, contact_sheet_path: Path, settings: Drawing, batch_size: int
) -> None:
    """Write the IMAGES of a SENTENCES shard, in its order, and a contact sheet of the first.

    Each picture is kept in `drawn/`, two folders above `images`, from the moment that it exists, so that a
    killed or changed run draws only what is new. An empty shard needs no model. ModelError for the model.
    """
    rows = tables.read(sentences, tables.SENTENCES, columns=["image_id", "sentence", "seed"]).to_pylist()
    pictures = _draw(rows, settings, batch_size, Drawn(images.parents[1] / "drawn")) if rows else []
    tables.write(
        images,
        tables.IMAGES,
        [
            row | {"image": {"bytes": png, "path": f"{row['image_id']}.png"}, "model": settings.model}
            for row, png in zip(rows, pictures, strict=True)
        ],
    )
    sheet = contact_sheet(pictures, [row["sentence"] for row in rows])
    with files.atomic_path(contact_sheet_path) as unfinished:
        sheet.save(unfinished, format="PNG")


def _draw(rows: Sequence[Row], settings: Drawing, batch_size: int, drawn: Drawn) -> list[bytes]:
    """A PNG file a row: the kept ones, and the rest drawn."""
    from icsd.backends.model_folder import PIPELINE_FILES, folder_digest, model_folder

    folder = model_folder("images.model", settings.model, PIPELINE_FILES)
    weights = folder_digest(folder, without=("safety_checker", "feature_extractor"))
    keys = [_key(row, settings, weights) for row in rows]
    kept = {key: png for key in keys if (png := drawn.get(key)) is not None}
    missing = [number for number, key in enumerate(keys) if key not in kept]
    if len(missing) < len(rows):
        _log.info("images: %d of %d are drawn already", len(rows) - len(missing), len(rows))
    if missing:
        pictures = _draw_new([rows[number] for number in missing], folder, settings, batch_size)
        for number, picture in zip(missing, progress(pictures, len(missing), "images"), strict=True):
            kept[keys[number]] = _png(picture)
            drawn.put(keys[number], kept[keys[number]])
    return [kept[key] for key in keys]


def _draw_new(rows: Sequence[Row], folder: Path, settings: Drawing, batch_size: int) -> Iterable["Image.Image"]:
    from icsd.backends.image_generator import load_image_generator  # late: what is drawn needs no torch

    generator = load_image_generator(folder, settings.size)
    return generator.draw(
        [row["sentence"] for row in rows],
        [row["seed"] for row in rows],
        batch_size,
        steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        negative_prompt=settings.negative_prompt,
    )


def _key(row: Row, settings: Drawing, weights: str) -> str:
    """A name for all that determines the picture; the weights by content, not by where they lie."""
    parts = asdict(settings) | {"model": weights, "revision": REVISIONS["images"]}
    parts |= {"sentence": row["sentence"], "seed": row["seed"]}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _png(picture: "Image.Image") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
