"""The sentences that an arm draws: they depend on summaries, captions and the config, not on shards or batches."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icsd.config.arms import ARMS
from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import (  # fmt: skip
    candidate_id,
    drawing_order,
    drawn_image_id,
    first_candidate_id,
    image_number,
    item_seed,
    shard_of,
)

Row = Mapping[str, Any]
AGAIN = "delete it and run snakemake again"
_log = logging.getLogger(__name__)


def select_sentences(
    arm: str,
    summaries: Sequence[Path],
    captions: Path,
    sentences: Path,
    shards: int,
    pictures: int,
    spare: float,
    seed: int,
) -> None:
    """Write the SENTENCES of an arm that draws summaries or captions, each in the shard that the image's id names.

    At most `pictures` summaries are drawn. An arm of captions draws as many of them and a share `spare` more, so that
    as many pictures are left after unsafe ones are dropped.
    """
    groups = choose_groups(tables.concat(summaries, tables.SUMMARIES).to_pylist(), pictures)
    if ARMS[arm].sentences == "summaries":
        rows = [_of_group(arm, group, seed) for group in groups]
    else:
        chosen = choose_captions(_corpus(captions), math.ceil(len(groups) * (1 + spare)))
        rows = [_of_caption(arm, row, seed) for row in chosen]
    _write_sentences(arm, rows, sentences, shards)


def select_anchor_captions(
    arm: str, groups: Path, captions: Path, sentences: Path, shards: int, pictures: int, seed: int
) -> None:
    """Write the SENTENCES of an arm that draws the anchor captions of GROUPS, at most `pictures` of them."""
    rows = tables.read(groups, tables.GROUPS, columns=["group_id", "caption_ids"]).to_pylist()
    chosen = sorted(rows, key=lambda row: drawing_order(row["group_id"]))[:pictures]
    texts = {row["caption_id"]: row["caption"] for row in _corpus(captions)}
    found = []
    for row in chosen:
        if row["group_id"] not in texts:
            raise InputError(groups, f"group_id {row['group_id']}", f"its anchor is not in {captions}", AGAIN)
        sentence = _sentence(arm, row["group_id"], texts[row["group_id"]], ARMS[arm].captions_of(row), seed)
        found.append(sentence | {"group_id": row["group_id"]})
    _write_sentences(arm, found, sentences, shards)


@dataclass(frozen=True)
class Drawn:
    """The tables of an arm's candidates: their SENTENCES, those of the first ones at the front, ALIGNMENT and SAFETY.

    `alignment` and `safety` may be empty where no score decides.
    """

    sentences: Sequence[Path]
    alignment: Sequence[Path] = ()
    safety: Sequence[Path] = ()


def select_matched_sentences(
    arm: str, method: Path | Drawn, captions: Path, sentences: Path, shards: int, seed: int
) -> None:
    """Write the SENTENCES of an arm that draws each different caption of the method's pairs by itself.

    `method` is the method's PAIRS. Where scores drop some of these it is what the method has drawn: the captions of its
    safe images are those of its pairs before any is dropped, whatever the thresholds.
    """
    if isinstance(method, Drawn):
        paired = _captions_of_safe(method)
    else:
        paired = set(tables.read(method, tables.PAIRS, columns=["caption_id"])["caption_id"].to_pylist())
    rows = [_of_caption(arm, row, seed) for row in _corpus(captions) if row["caption_id"] in paired]
    _write_sentences(arm, rows, sentences, shards)


def _captions_of_safe(drawn: Drawn) -> set[int]:
    safe = {row["image_id"] for path in drawn.safety for row in _safe(path)}
    rows = tables.concat(drawn.sentences, tables.SENTENCES, columns=["image_id", "caption_ids"]).to_pylist()
    return {caption_id for row in rows if row["image_id"] in safe for caption_id in row["caption_ids"]}


@dataclass(frozen=True)
class Candidates:
    """Which sentences get one more candidate, candidate `number`, from 1.

    With `redraw_below` only sentences get one whose captions no earlier, safe candidate shows with that mean score. No
    further one is drawn once the arm has drawn `max_images`, first candidates included.
    """

    number: int
    redraw_below: float | None
    max_images: int | None


def select_candidates(drawn: Drawn, selected: Path, shards: int, seed: int, which: Candidates) -> None:
    """Write the SENTENCES of which a further candidate is drawn, each with a seed of its own.

    Where `max_images` leaves room for a part, those without a safe candidate and the lowest scores come first.
    """
    rows = tables.read(drawn.sentences[0], tables.SENTENCES).to_pylist()
    best = _best_means(rows, drawn)
    if which.redraw_below is not None:
        rows = [row for row in rows if best.get(row["image_id"], -math.inf) < which.redraw_below]
    rows.sort(key=lambda row: (best.get(row["image_id"], -math.inf), drawing_order(image_number(row["image_id"]))))
    if which.max_images is not None:
        already = sum(tables.count(path, tables.SENTENCES) for path in drawn.sentences)
        rows = rows[: max(0, which.max_images - already)]
    found = [_candidate(row, which.number, seed) for row in rows]
    _write_sentences(f"candidate {which.number}", found, selected, shards)


def _best_means(rows: Sequence[Row], drawn: Drawn) -> dict[str, float]:
    """The highest mean score of the captions over the safe candidates of each sentence, rounded."""
    own = {row["image_id"]: set(row["caption_ids"]) for row in rows}
    safe = {row["image_id"] for path in drawn.safety for row in _safe(path)}
    scores: dict[str, list[float]] = {}
    for path in drawn.alignment:
        for row in tables.read(path, tables.ALIGNMENT).to_pylist():
            if row["image_id"] in safe and row["caption_id"] in own[first_candidate_id(row["image_id"])]:
                scores.setdefault(row["image_id"], []).append(row["score"])
    best = dict[str, float]()
    for image_id, values in scores.items():
        first = first_candidate_id(image_id)
        best[first] = max(best.get(first, -math.inf), round(math.fsum(values) / len(values), 6))
    return best


def _safe(path: Path) -> list[dict[str, Any]]:
    rows = tables.read(path, tables.SAFETY, ["image_id", "verdict"]).to_pylist()
    return [row for row in rows if row["verdict"] == "safe"]


def _candidate(row: Row, number: int, seed: int) -> dict[str, Any]:
    image_id = candidate_id(row["image_id"], number)
    return {**row, "image_id": image_id, "seed": item_seed(image_id, seed)}


def choose_groups(summaries: Iterable[Row], pictures: int) -> list[Row]:
    """Return the first `pictures` usable summaries, in an order that does not depend on their content."""
    usable = [row for row in summaries if row["status"] == "ok"]
    return sorted(usable, key=lambda row: drawing_order(row["group_id"]))[:pictures]


def choose_captions(corpus: Iterable[Row], pictures: int) -> list[Row]:
    """Return the first `pictures` captions, in an order that does not depend on their content."""
    return sorted(corpus, key=lambda row: drawing_order(row["caption_id"]))[:pictures]


def _corpus(captions: Path) -> list[dict[str, Any]]:
    return tables.read(captions, tables.CAPTIONS, columns=["caption_id", "caption"]).to_pylist()


def _write_sentences(arm: str, rows: Sequence[Row], sentences: Path, shards: int) -> None:
    _log.info("%s: %s sentences to draw", arm, f"{len(rows):,}")
    by_shard: list[list[Row]] = [[] for _ in range(shards)]
    for row in rows:
        by_shard[shard_of(row["image_id"], shards)].append(row)
    tables.write_batches(sentences, tables.SENTENCES, by_shard)


def _of_group(arm: str, group: Row, seed: int) -> dict[str, Any]:
    row = _sentence(arm, group["group_id"], group["summary"], group["selected"], seed)
    return row | {"group_id": group["group_id"], "prompt_hash": group["prompt_hash"]}


def _of_caption(arm: str, row: Row, seed: int) -> dict[str, Any]:
    return _sentence(arm, row["caption_id"], row["caption"], [row["caption_id"]], seed)


def _sentence(arm: str, number: int, sentence: str, captions: Sequence[int], seed: int) -> dict[str, Any]:
    image_id = drawn_image_id(arm, number)
    row = {"image_id": image_id, "arm": arm, "sentence": sentence, "caption_ids": list(captions)}
    return row | {"seed": item_seed(image_id, seed), "group_id": None, "prompt_hash": None}
