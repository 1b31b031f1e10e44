"""Captions that scores leave without a pair, and other images for them."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from icsd.core import tables
from icsd.stages.dataset.alignment import Floats, ScoreLimits, Scores, rounded
from icsd.stages.dataset.pairs import Pairs


@dataclass(frozen=True)
class Unmatched:
    """The captions of pairs that have none left, ascending, each with the best score that it had with an image [n].

    `taken` are the pairs that they had.
    """

    captions: NDArray[np.int64]
    scores: Floats
    taken: Pairs


def unmatched(pairs: Pairs, scores: Scores, left: NDArray[np.int64]) -> Unmatched:
    """The captions of `pairs` that are not among those `left`."""
    lost = ~np.isin(pairs.caption, left)
    taken = pairs.where(lost)
    captions, place = np.unique(taken.caption, return_inverse=True)
    best = np.full(len(captions), -math.inf)
    np.maximum.at(best, place, scores.of(taken))
    return Unmatched(captions, best, taken)


@dataclass(frozen=True)
class Matching:
    """The images that captions may get instead of their own, with the limits and the number of captions of each.

    An image may have `at_most` captions, None: any number. Only the `nearest` images of a caption count.
    """

    images: pa.Array
    limits: ScoreLimits
    counts: NDArray[np.int64]
    at_most: int | None
    nearest: int


def matched_pairs(
    without: Unmatched, matches: Sequence[Path], matching: Matching
) -> tuple[Pairs, list[float], dict[int, str]]:
    """New pairs with their scores: each caption with the nearest image that shows it well and better than its own.

    Also the captions for which there is none, with the reason. The highest scores choose first. `matches` are the
    ALIGNMENT tables of captions with their nearest images, the nearest first.
    """
    limits, own = matching.limits.of_each, dict(zip(without.captions.tolist(), without.scores.tolist(), strict=True))
    counts: Counter[int] = Counter()
    found, reasons = dict[int, tuple[int, float]](), dict[int, str]()
    for caption_id, image, score in _choices(without, matches, matching):
        limit = float(limits[image])
        if score < limit or score <= own[caption_id]:
            needed = max(limit, own[caption_id])
            reasons.setdefault(
                caption_id, f"no other image shows it: the best scores {score:.3f}, not above {needed:.3f}"
            )
        elif matching.at_most is not None and matching.counts[image] + counts[image] >= matching.at_most:
            image_id = matching.images[image].as_py()
            reasons.setdefault(caption_id, f"no other image shows it: {image_id} has its captions")
        elif caption_id not in found:
            found[caption_id] = image, score
            counts[image] += 1
    none = "none of its nearest images is used"
    dropped = {each: reasons.get(each, none) for each in own if each not in found}
    captions = sorted(found)
    chosen = np.array([found[each][0] for each in captions], np.int64)
    pairs = Pairs(matching.images, chosen, np.array(captions, np.int64))
    return pairs, [found[each][1] for each in captions], dropped


def _choices(without: Unmatched, matches: Sequence[Path], matching: Matching) -> list[tuple[int, int, float]]:
    """Each caption with its nearest images of those it may be paired with, the highest scores first."""
    near = _nearest(without.captions, matches)
    place = _places({image_id for of_caption in near.values() for image_id in of_caption}, matching.images)
    taken = set(zip(without.taken.image_ids.to_pylist(), without.taken.caption.tolist(), strict=True))
    choices = list[tuple[int, str, float]]()
    for caption_id in without.captions.tolist():
        there = [each for each in near.get(caption_id, {}).items() if each[0] in place]
        choices += [
            (caption_id, image_id, score)
            for image_id, score in there[: matching.nearest]
            if (image_id, caption_id) not in taken
        ]
    choices.sort(key=lambda choice: (-choice[2], choice[0], choice[1]))
    return [(caption_id, place[image_id], score) for caption_id, image_id, score in choices]


def _places(wanted: set[str], image_ids: pa.Array) -> dict[str, int]:
    """The places of the `wanted` images among `image_ids`, of those that are there."""
    names = pa.array(sorted(wanted), pa.string())
    places = pc.index_in(names, value_set=image_ids).to_pylist()
    return {name: place for name, place in zip(names.to_pylist(), places, strict=True) if place is not None}


def _nearest(captions: NDArray[np.int64], matches: Sequence[Path]) -> Mapping[int, Mapping[str, float]]:
    """The nearest images of each of these captions, the nearest first, with their scores."""
    nearest: dict[int, dict[str, float]] = {}
    for path in matches:
        rows = tables.read(path, tables.ALIGNMENT)
        rows = rows.filter(pc.is_in(rows["caption_id"], value_set=pa.array(captions)))
        columns = (rows["caption_id"].to_pylist(), rows["image_id"].to_pylist(), rounded(rows["score"]).tolist())
        for caption_id, image_id, score in zip(*columns, strict=True):
            nearest.setdefault(caption_id, {})[image_id] = score
    return nearest
