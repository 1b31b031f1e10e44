"""The pairs and the sentences of an arm with their scores, which of them are dropped, and those next to the line."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from icsd.config import AlignmentConfig
from icsd.config.arms import ARMS
from icsd.stages.dataset.alignment import rounded, score_limits
from icsd.stages.dataset.pairs import Pairs
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
    items: pa.Array
    scores: NDArray[np.float64]
    reasons: pa.Array
    limits: NDArray[np.float64]
    line: float | None
    state: str = ""

    @cached_property
    def dropped(self) -> NDArray[np.bool_]:
        """True for each item that is dropped [n]."""
        return np.asarray(self.reasons.is_valid())

    @property
    def near(self) -> list[int]:
        """The positions of all items of `beside_the_line`."""
        return [each for side in self.beside_the_line.values() for each in side]

    def item(self, position: int) -> str:
        """The id of a pair, or of a sentence's image."""
        return str(self.items[position])

    def image_id(self, position: int) -> str:
        """The image of a pair or of a sentence."""
        return self.item(position).partition("/")[0]

    def caption_id(self, position: int) -> int:
        """The caption of a pair."""
        return int(self.item(position).rpartition("/")[2])

    @cached_property
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
        for each in map(int, order[self.dropped[order] == dropped]):
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
    entered, places = entered.filter(places.is_valid()).combine_chunks(), places.drop_null()
    items, reasons = (entered[name].combine_chunks() for name in ("item_id", "reason"))
    found = scored["score"].take(places)
    limits, line = _limits(items, rounded(found), settings)
    return ScoredItems(arm, "pairs", items, np.asarray(found).astype(np.float64), reasons, limits, line, state)


def scored_sentences(run: Run, arm: str, line: float) -> ScoredItems:
    """The images that entered the step `alignment` of an arm's ledger, with the scores of their sentences.

    Before there is a ledger there are none.
    """
    ledger = run.ledger(arm).rows(["stage", "item_id", "reason"])
    entered = ledger.filter(pc.equal(ledger["stage"], "alignment"))
    rows = run.alignment(ARMS[arm].drawn_by.name).rows()
    rows = rows.filter(rows["caption_id"].is_null())
    places = pc.index_in(entered["item_id"], value_set=rows["image_id"])
    entered, places = entered.filter(places.is_valid()).combine_chunks(), places.drop_null()
    scores = np.asarray(rows["score"].take(places)).astype(np.float64)
    items, reasons = (entered[name].combine_chunks() for name in ("item_id", "reason"))
    return ScoredItems(arm, "sentences", items, scores, reasons, np.full(len(scores), line), line)


def _limits(
    items: pa.Array, scores: NDArray[np.float64], settings: AlignmentConfig
) -> tuple[NDArray[np.float64], float | None]:
    """The lowest score that each pair may have [n], as the dataset decides it, and the one that all share."""
    images = pc.replace_substring_regex(items, "/.*", "").dictionary_encode()
    captions = pc.replace_substring_regex(items, "^[^/]*/", "").cast(pa.int64())
    pairs = Pairs(images.dictionary, np.asarray(images.indices).astype(np.int64), np.asarray(captions))
    limits = score_limits(pairs, scores, settings)
    return limits.of_each[pairs.image], limits.lowest if np.isfinite(limits.lowest) else None


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
