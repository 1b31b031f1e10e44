"""Which pairs the scores of images and captions drop, add and weigh, and which candidate of a sentence is used."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from icsd.config import AlignmentConfig
from icsd.core import tables
from icsd.core.errors import AGAIN, InputError
from icsd.core.id_columns import candidate_numbers, first_candidate_ids, item_seeds, texts
from icsd.stages.dataset.pairs import Pairs
from icsd.stages.dataset.steps import scattered, whole

Floats = NDArray[np.float64]
DIGITS = 5  # of a score: the tables hold float32, in which 0.47 is a little less


def rounded(scores: pa.ChunkedArray) -> Floats:
    """Scores to DIGITS: exactly Python's `round`, since a float32 times 10^5 is exact in float64."""
    values: Floats = np.asarray(scores).astype(np.float64)
    return np.round(values, DIGITS)


@dataclass(frozen=True)
class Scores:
    """The scores of an arm's images with their captions, and, where `caption_id` is null, with their sentences.

    `values` [n] are those of the rows of `table`. `path` names the tables in messages.
    """

    path: Path
    table: pa.Table
    values: Floats

    def of(self, pairs: Pairs) -> Floats:
        """The score of each pair; InputError if one has none."""
        image = np.asarray(pc.index_in(self.table["image_id"], value_set=pairs.images).fill_null(-1)).astype(np.int64)
        scored = (image >= 0) & np.asarray(self.table["caption_id"].is_valid())
        caption = np.asarray(self.table["caption_id"].fill_null(0))[scored]
        captions = np.unique(np.concatenate([caption, pairs.caption]))
        keys = image[scored] * len(captions) + np.searchsorted(captions, caption)
        wanted = pairs.image * len(captions) + np.searchsorted(captions, pairs.caption)
        found, missing = _found(keys, self.values[scored], wanted)
        if missing is not None:
            image_id = pairs.images[int(pairs.image[missing])].as_py()
            raise InputError(self.path, image_id, f"caption {pairs.caption[missing]} has no score", AGAIN)
        return found

    def of_sentences(self, image_ids: pa.Array) -> Floats:
        """The score of each image's sentence; InputError if one has none."""
        rows = np.asarray(self.table["caption_id"].is_null())
        places = pc.index_in(image_ids, value_set=whole(self.table["image_id"].filter(pa.array(rows))))
        if places.null_count:
            image_id = image_ids.filter(places.is_null())[0].as_py()
            raise InputError(self.path, image_id, "the sentence has no score", AGAIN)
        return self.values[rows][np.asarray(places)]


def _found(keys: NDArray[np.int64], values: Floats, wanted: NDArray[np.int64]) -> tuple[Floats, int | None]:
    """The value of each `wanted` key, and the place of the first that is not there."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    places = np.searchsorted(keys, wanted, side="right") - 1
    there = (places >= 0) & (keys[places] == wanted) if len(keys) else np.zeros(len(wanted), np.bool_)
    if not there.all():
        return np.zeros(0), int(np.flatnonzero(~there)[0])
    return values[order[places]], None


def read_scores(alignment: Sequence[Path]) -> Scores:
    """Read the ALIGNMENT tables of an arm's images and their own captions."""
    table = tables.concat(alignment, tables.ALIGNMENT)
    return Scores(alignment[0].parent, table, rounded(table["score"]))


def losing_candidates(pairs: Pairs, scores: Scores) -> pa.Array:
    """For each image of `pairs`, if another candidate shows its sentence better, the reason to drop it.

    The mean score of the captions decides; of equal ones the earlier candidate is used.
    """
    means = _means(pairs, scores.of(pairs))
    first = np.asarray(first_candidate_ids(pairs.images).dictionary_encode().indices)
    order = np.lexsort((candidate_numbers(pairs.images), -means, first))
    begins = np.searchsorted(first[order], np.arange(first.max(initial=-1) + 1))
    used = order[begins][first]
    lost = used != np.arange(len(used))
    names = pairs.images.take(pa.array(used[lost])).to_pylist()
    reasons = [
        f"another candidate is used: its captions' mean is {mean:.3f}, {name} has {highest:.3f}"
        for mean, name, highest in zip(means[lost].tolist(), names, means[used[lost]].tolist(), strict=True)
    ]
    return scattered(reasons, pa.array(lost))


def _means(pairs: Pairs, scores: Floats) -> Floats:
    """The mean score of each image's captions, rounded: the best candidate must not hang on an order of adding."""
    counts = np.bincount(pairs.image, minlength=len(pairs.images))
    starts = counts.cumsum() - counts
    means = np.full(len(counts), np.nan)
    for count in np.unique(counts[counts > 0]).tolist():  # images with as many captions are the rows of a matrix
        some = np.flatnonzero(counts == count)
        means[some] = scores[starts[some][:, None] + np.arange(count)].mean(axis=1)
    return np.array([round(mean, 6) for mean in means.tolist()], np.float64)


def unshown_sentences(image_ids: pa.Array, scores: Scores, settings: AlignmentConfig) -> pa.Array:
    """For each image whose sentence scores too low, the reason to drop it."""
    limit = settings.min_sentence_score
    if limit is None:
        return pa.nulls(len(image_ids), pa.string())
    found = scores.of_sentences(image_ids)
    reason = f"below alignment.min_sentence_score={limit}: its sentence's score is"
    return scattered([f"{reason} {score:.3f}" for score in found[found < limit].tolist()], pa.array(found < limit))


@dataclass(frozen=True)
class ScoreLimits:
    """The lowest score that a pair may have: of any image, and of each of m images by its best caption [m].

    An image without a limit of its own has -inf.
    """

    lowest: float
    of_images: Floats

    @property
    def of_each(self) -> Floats:
        """The lowest score that a pair of each image may have [m]."""
        return np.maximum(self.lowest, self.of_images)


def score_limits(pairs: Pairs, scores: Floats, settings: AlignmentConfig) -> ScoreLimits:
    """The lowest scores that pairs may have; with `drop_share`, that of the lowest pair that is left."""
    lowest = -np.inf if settings.min_score is None else settings.min_score
    if count := _share_of(pairs, settings):
        lowest = max(lowest, float(np.partition(scores, count)[count]))
    return ScoreLimits(lowest, _image_limits(pairs, scores, settings.max_below_best))


def low_pairs(pairs: Pairs, scores: Floats, limits: ScoreLimits, settings: AlignmentConfig) -> pa.Array:
    """The reasons of the pairs that are dropped, null for the others [n]; `limits` are their `score_limits`."""
    least = -np.inf if settings.min_score is None else settings.min_score
    needed = limits.of_images[pairs.image]
    below, far = scores < least, scores < needed
    lowest = _lowest(pairs, scores, _share_of(pairs, settings))
    texts_of = {
        0: f"below alignment.min_score={least}",
        1: f"among the lowest {settings.drop_share:g} of the arm's scores (alignment.drop_share)",
        2: f"more than alignment.max_below_best={settings.max_below_best} below the best of its image",
    }
    lost = below | lowest | far
    why = np.where(below, 0, np.where(lowest, 1, 2))[lost]
    reasons = [
        f"{texts_of[number]}: its score is {score:.3f}" + (f", {limit:.3f} is needed" if number == 2 else "")
        for number, score, limit in zip(why.tolist(), scores[lost].tolist(), needed[lost].tolist(), strict=True)
    ]
    return scattered(reasons, pa.array(lost))


def _share_of(pairs: Pairs, settings: AlignmentConfig) -> int:
    """The number of pairs that `drop_share` drops."""
    return int(settings.drop_share * len(pairs) + 1e-9)  # 0.29 of 100 are 29, in floating point as well


def _lowest(pairs: Pairs, scores: Floats, count: int) -> NDArray[np.bool_]:
    """True for the `count` pairs with the lowest scores.

    Of equal scores a hash decides, so that no image or caption comes first for its number.
    """
    if not count:
        return np.zeros(len(scores), np.bool_)
    last = np.partition(scores, count - 1)[count - 1]
    found = scores < last
    equal = np.flatnonzero(scores == last)
    names = texts(pairs.where(scores == last).names)
    order = np.argsort(item_seeds(names, 0), kind="stable")
    found[equal[order[: count - int(found.sum())]]] = True
    return found


def _image_limits(pairs: Pairs, scores: Floats, max_below_best: float | None) -> Floats:
    """The best score of each image less `max_below_best`, rounded as scores are; -inf without it."""
    best = np.full(len(pairs.images), -np.inf)
    if max_below_best is None:
        return best
    np.maximum.at(best, pairs.image, scores)
    return np.array([each if each == -np.inf else round(each - max_below_best, DIGITS) for each in best.tolist()])


def weights(scores: Sequence[float] | Floats, temperature: float) -> NDArray[np.float32]:
    """The weight exp(score / temperature) of each pair, divided by their mean."""
    exponents = np.asarray(scores, np.float64) / temperature
    values = np.exp(exponents - exponents.max())
    return np.array([float(f"{value:.6g}") for value in (values / values.mean()).tolist()], np.float32)
