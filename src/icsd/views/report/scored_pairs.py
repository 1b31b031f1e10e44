"""The pairs and the sentences of an arm with their scores, which of them are dropped, and those next to the line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from icsd.config import AlignmentConfig
from icsd.config.arms import ARMS
from icsd.stages.dataset.alignment import DIGITS, Scores, low_pairs
from icsd.views.run import Run

NEAR = 8  # pairs or sentences on each side of the line
UNSELECTED = "not selected yet"


@dataclass(frozen=True)
class ScoredItems:
    """The pairs [n] of an arm before any is dropped for its score, or its images [n] with their sentences' scores.

    `reasons` are of those that are dropped. `limits` [n] is the lowest score that each may have, -inf without such a
    key; `line` is the limit that all share. `state` is a note for people.
    """

    arm: str
    unit: Literal["pairs", "sentences"]
    items: Sequence[str]
    scores: NDArray[np.float64]
    reasons: Sequence[str | None]
    limits: NDArray[np.float64]
    line: float | None
    state: str = ""

    @property
    def dropped(self) -> NDArray[np.bool_]:
        """True for each item that is dropped [n]."""
        return np.array([reason is not None for reason in self.reasons], np.bool_)

    @property
    def near(self) -> list[int]:
        """The positions of all items of `beside_the_line`."""
        return [each for side in self.beside_the_line.values() for each in side]

    def image_id(self, position: int) -> str:
        """The image of a pair or of a sentence."""
        return self.items[position].partition("/")[0]

    def caption_id(self, position: int) -> int:
        """The caption of a pair."""
        return int(self.items[position].rpartition("/")[2])

    @property
    def beside_the_line(self) -> dict[str, list[int]]:
        """The positions of the items whose scores are nearest to their limits, on each side, the nearest first.

        Captions of one text have one score with a picture; one of them stands for all.
        """
        if not np.isfinite(self.limits).any():
            return {"the lowest scores": self._nearest(np.argsort(self.scores, kind="stable"), dropped=False)}
        order = np.argsort(np.abs(self.scores - self.limits), kind="stable")
        sides = {
            "just below the line, dropped": self._nearest(order, dropped=True),
            "just above the line, kept": self._nearest(order, dropped=False),
        }
        return {side: found for side, found in sides.items() if found}

    def _nearest(self, order: NDArray[np.int64], *, dropped: bool) -> list[int]:
        first = dict[tuple[str, float], int]()
        for each in order[self.dropped[order] == dropped].tolist():
            first.setdefault((self.image_id(each), float(self.scores[each])), each)
            if len(first) == NEAR:
                break
        return list(first.values())


def scored_pairs(run: Run, arm: str, settings: AlignmentConfig) -> ScoredItems:
    """The pairs of an arm that entered the step `pairs` of its ledger; before there is a ledger, all that have a score.

    Without a key that drops pairs there is no such step, and the pairs are those of its dataset.
    """
    scored = _scores(run, arm)
    entered, state = _entered(run, arm), ""
    if not len(entered):
        entered, state = _with_reasons(scored["item_id"]), UNSELECTED
    places = pc.index_in(entered["item_id"], value_set=scored["item_id"])
    entered, places = entered.filter(places.is_valid()), places.drop_null()
    items, reasons = entered["item_id"].to_pylist(), entered["reason"].to_pylist()
    scores = scored["score"].take(places).to_numpy().astype(np.float64)
    limits, line = _limits(items, scores, settings)
    return ScoredItems(arm, "pairs", items, scores, reasons, limits, line, state)


def scored_sentences(run: Run, arm: str, line: float) -> ScoredItems:
    """The images that entered the step `alignment` of an arm's ledger, with the scores of their sentences.

    Before there is a ledger there are none.
    """
    ledger = run.ledger(arm).rows(["stage", "item_id", "reason"])
    entered = ledger.filter(pc.equal(ledger["stage"], "alignment"))
    rows = run.alignment(ARMS[arm].drawn_by.name).rows()
    rows = rows.filter(rows["caption_id"].is_null())
    places = pc.index_in(entered["item_id"], value_set=rows["image_id"])
    entered, places = entered.filter(places.is_valid()), places.drop_null()
    scores = rows["score"].take(places).to_numpy().astype(np.float64)
    limits = np.full(len(scores), line)
    return ScoredItems(
        arm, "sentences", entered["item_id"].to_pylist(), scores, entered["reason"].to_pylist(), limits, line
    )


def _limits(
    items: Sequence[str], scores: NDArray[np.float64], settings: AlignmentConfig
) -> tuple[NDArray[np.float64], float | None]:
    """The lowest score that each pair may have [n], as the dataset decides it, and the one that all share."""
    pairs = [(image_id, int(caption_id)) for image_id, _, caption_id in (item.partition("/") for item in items)]
    rounded = (round(score, DIGITS) for score in scores.tolist())
    _, limits = low_pairs(pairs, Scores(Path(), dict(zip(pairs, rounded, strict=True)), {}), settings)
    of_pairs = np.array([limits.of(image_id) for image_id, _ in pairs], np.float64)
    return of_pairs, limits.lowest if np.isfinite(limits.lowest) else None


def _scores(run: Run, arm: str) -> pa.Table:
    """The id of each scored pair in the ledger, and its score."""
    rows = run.alignment(ARMS[arm].drawn_by.name).rows()
    rows = rows.filter(rows["caption_id"].is_valid())
    return pa.table({"item_id": _items(rows), "score": rows["score"]})


def _items(pairs: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(pairs["image_id"], pairs["caption_id"].cast(pa.string()), "/")


def _entered(run: Run, arm: str) -> pa.Table:
    ledger = run.ledger(arm).rows(["stage", "item_id", "reason"])
    steps = ledger.filter(pc.equal(ledger["stage"], "pairs")).select(["item_id", "reason"])
    return steps if len(steps) else _with_reasons(_items(run.pairs(arm).rows(["image_id", "caption_id"])))


def _with_reasons(items: pa.ChunkedArray) -> pa.Table:
    return pa.table({"item_id": items, "reason": pa.nulls(len(items), pa.string())})
