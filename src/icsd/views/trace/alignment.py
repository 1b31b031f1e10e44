"""Scores of an image or a caption, the candidates of a sentence, and the pairs that were dropped or made for scores."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from icsd.config.arms import ARMS, arms_with_pictures_of
from icsd.core.ids import candidate_id, candidate_number, first_candidate_id, image_number
from icsd.views.run import Run

Row = Mapping[str, Any]


@dataclass(frozen=True)
class SentenceCandidates:
    """The images drawn of one sentence, by number, and the one that each arm uses.

    An arm uses none as long as it has no dataset, or if all were unsafe.
    """

    image_ids: list[str]
    used: Mapping[str, str]


@dataclass(frozen=True)
class AlignedPair:
    """An image and a caption in an arm's dataset, or dropped from it for a `reason`.

    `matched` is true if alignment.rematch made the pair. `score` and `weight` are None where there are none.
    """

    arm: str
    image_id: str
    caption_id: int
    score: float | None = None
    weight: float | None = None
    reason: str | None = None
    matched: bool = False


def candidates_of(run: Run, arm: str, image_id: str) -> SentenceCandidates | None:
    """The candidates of an image's sentence; None if the image is the only one."""
    if not image_id.removeprefix(f"{arm}-").replace("_", "").isdecimal():
        return None
    first, highest = first_candidate_id(image_id), max(run.candidates - 1, candidate_number(image_id))
    wanted = [candidate_id(first, candidate) for candidate in range(highest + 1)]
    drawn = set(run.sentences(arm).select(wanted, ["image_id"])["image_id"].to_pylist())
    if len(drawn) < 2:
        return None
    used = dict[str, str]()
    for other in arms_with_pictures_of(arm):
        for row in run.ledger(other).select(wanted, key="item_id").to_pylist():
            if row["stage"] == "candidates" and row["kept"]:
                used[other] = row["item_id"]
    return SentenceCandidates([each for each in wanted if each in drawn], used)


def scores_of_image(run: Run, arm: str, image_id: str) -> tuple[float | None, dict[int, float]]:
    """The score of an image's sentence, None if it has none, and those of its captions."""
    rows = run.alignment(arm).select([image_id]).to_pylist()
    scores = {row["caption_id"]: row["score"] for row in rows}
    return scores.pop(None, None), scores


def pairs_of_image(run: Run, arm: str, image_id: str, scores: Mapping[int, float]) -> list[AlignedPair]:
    """The pairs of an image that have a score, or were dropped or made for it, by caption."""
    dropped = {int(item.rpartition("/")[2]): why for item, why in _dropped(run, arm, pc.starts_with, f"{image_id}/")}
    kept = {row["caption_id"]: row["weight"] for row in run.pairs(arm).select([image_id]).to_pylist()}
    matched = _matched(run, arm, kept)
    known = {each: _match_score(run, arm, image_id, each) for each in matched} | dict(scores)
    return [
        AlignedPair(arm, image_id, each, known.get(each), kept.get(each), dropped.get(each), each in matched)
        for each in sorted({*kept, *dropped})
        if each in known or each in dropped
    ]


def pairs_of_caption(run: Run, arm: str, caption_id: int) -> list[AlignedPair]:
    """The pairs of a caption that have a score, or were dropped or made for it, by the number of the image."""
    rows = run.alignment(ARMS[arm].drawn_by.name).select([caption_id], key="caption_id").to_pylist()
    dropped = {item.rpartition("/")[0]: why for item, why in _dropped(run, arm, pc.ends_with, f"/{caption_id}")}
    paired = run.pairs(arm).select([caption_id], key="caption_id").to_pylist()
    kept = {row["image_id"]: row["weight"] for row in paired}
    matched = set(kept) if _matched(run, arm, [caption_id]) else set()
    scores = {each: _match_score(run, arm, each, caption_id) for each in matched}
    scores |= {row["image_id"]: row["score"] for row in rows}
    return [
        AlignedPair(arm, each, caption_id, scores.get(each), kept.get(each), dropped.get(each), each in matched)
        for each in sorted({*kept, *dropped}, key=lambda each: (image_number(each), candidate_number(each)))
        if each in scores or each in dropped
    ]


def unmatched(run: Run, arms: Iterable[str], caption_id: int) -> dict[str, str]:
    """The reason of each arm in which alignment.rematch found no other image for a caption."""
    return {arm: row["reason"] for arm in arms for row in _rematched(run, arm, [caption_id]) if not row["kept"]}


def _dropped(run: Run, arm: str, holds: Any, text: str) -> list[tuple[str, str]]:
    """The dropped pairs of the arm's ledger whose id begins or ends with a text, and the reason of each."""
    rows = run.ledger(arm).rows()
    rows = rows.filter(pc.and_(pc.equal(rows["stage"], "pairs"), pc.invert(rows["kept"])))
    rows = rows.filter(holds(rows["item_id"], text))
    return list(zip(rows["item_id"].to_pylist(), rows["reason"].to_pylist(), strict=True))


def _matched(run: Run, arm: str, caption_ids: Iterable[int]) -> set[int]:
    """The captions, of these, that alignment.rematch gave to another image."""
    return {int(row["item_id"].split()[1]) for row in _rematched(run, arm, caption_ids) if row["kept"]}


def _rematched(run: Run, arm: str, caption_ids: Iterable[int]) -> list[Row]:
    rows = run.ledger(arm).select([f"caption {each}" for each in caption_ids], key="item_id").to_pylist()
    return [row for row in rows if row["stage"] == "rematch"]


def _match_score(run: Run, arm: str, image_id: str, caption_id: int) -> float | None:
    rows = run.matches(ARMS[arm].drawn_by.name).select([caption_id], key="caption_id").to_pylist()
    return next((row["score"] for row in rows if row["image_id"] == image_id), None)
