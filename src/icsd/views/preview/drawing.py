"""Pictures of a preview's sentences, drawn as the run would draw them."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icsd.config import METHOD, Config, ImagesConfig
from icsd.core import tables
from icsd.core.ids import drawn_image_id, item_seed
from icsd.core.lock import locked
from icsd.stages.images import draw_images, image_store
from icsd.views.preview.reckoning import BY_RATES, Line, hours_text
from icsd.views.preview.trying import SampledGroup, TriedPrompt, left_of, preview_name
from icsd.views.run import Run


@dataclass(frozen=True)
class Picture:
    """A PNG file, or the reason why there is none."""

    png: bytes | None
    reason: str | None


@dataclass(frozen=True)
class DrawnPictures:
    """The pictures by group, how many of them are new, and the seconds that it took."""

    by_group: dict[int, Picture]
    new: int
    seconds: float


def draw_sentences(
    config: Config, tried: TriedPrompt, groups: Sequence[SampledGroup], number: int, run: Run
) -> DrawnPictures:
    """Draw the first `number` sentences of a prompt, with the seeds that they have in the run.

    A picture goes to the store that runs share: where the run's sentence is the same, it is not drawn again. Errors as
    those of the stage, but no share of failed pictures is too large.
    """
    rows = [
        _sentence(each.group.group_id, summary.text, config.images.seed)
        for each, summary in zip(groups, tried.summaries, strict=True)
        if summary.text is not None
    ][:number]
    store = image_store(Path(config.images.store), preview_name(run))
    before, started = store.count(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder, locked(store.own_folder):  # so that icsd clean sees it
        own = Path(folder) / preview_name(run)
        sentences, images, sheet = (own / name for name in ("drawn.parquet", "images.parquet", "sheet.png"))
        tables.write(sentences, tables.SENTENCES, rows)
        draw_images(sentences, images, sheet, config.images.drawing, _settings(config.images, run), own)
        found = tables.read(images, tables.IMAGES, ["image_id", "image", "reason"]).to_pylist()
    seconds = time.monotonic() - started
    by_id = {row["image_id"]: Picture((row["image"] or {}).get("bytes"), row["reason"]) for row in found}
    return DrawnPictures({row["group_id"]: by_id[row["image_id"]] for row in rows}, store.count() - before, seconds)


def _sentence(group_id: int, sentence: str, seed: int) -> dict[str, Any]:
    image_id = drawn_image_id(METHOD, group_id)
    return {
        "image_id": image_id, "arm": METHOD, "sentence": sentence, "caption_ids": [], "group_id": group_id,
        "seed": item_seed(image_id, seed), "prompt_hash": None,
    }  # fmt: skip


def _settings(config: ImagesConfig, run: Run) -> ImagesConfig:
    changes: dict[str, object] = {"max_drop_share": 1.0}
    if config.provider == "openai" and config.budget_usd is not None:
        changes["budget_usd"] = left_of(config.budget_usd, run.images_budget, config.store, run)
    return config.model_copy(update=changes)


def reckoned_pictures(config: Config, drawn: DrawnPictures, pictures: int) -> list[Line]:
    """Return the lines of a run with that many pictures."""
    sample = f"{len(drawn.by_group):,}, {drawn.new:,} new"
    lines = [Line("pictures", sample, "", f"{pictures:,}", "at most, of all arms")]
    served = config.images.provider == "openai"
    if served:
        each = config.images.openai.usd_per_image
        lines.append(Line("USD for pictures", f"{drawn.new * each:,.4f}", f"{each:g}", f"{pictures * each:,.2f}"))
    rates, taken = config.estimate, f"{drawn.seconds:,.1f} s"
    each_s = rates.seconds_per_image_request if served else 1 / rates.images_per_second
    source = BY_RATES
    at_once = min(rates.requests_at_once, config.shards * config.images.openai.concurrency) if served else 1
    if drawn.new:
        together = min(drawn.new, config.images.openai.concurrency) if served else 1
        each_s, source = drawn.seconds * together / drawn.new, "as fast as here, loading included"
    where = f"{at_once} requests at once" if served else "on one device"
    hours = hours_text(pictures * each_s / at_once)
    return [*lines, Line("hours for pictures", taken, "", hours, f"{source}, {where}")]
