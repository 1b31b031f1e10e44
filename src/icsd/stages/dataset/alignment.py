"""Which pairs the scores of images and captions drop, add and weigh, and which candidate of a sentence is used."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from icsd.config import AlignmentConfig
from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import candidate_number, first_candidate_id, item_seed

Pair = tuple[str, int]  # an image and a caption
DIGITS = 5  # of a score: the tables hold float32, in which 0.47 is a little less
AGAIN = "delete it and run snakemake again"


@dataclass(frozen=True)
class Scores:
    """The scores of an arm's images: of their captions, of their sentences, and of other images for a caption.

    `matches` has the nearest images of each caption, the nearest first. `path` names the tables in messages.
    """

    path: Path
    captions: Mapping[Pair, float]
    sentences: Mapping[str, float]
    matches: Mapping[int, Sequence[tuple[str, float]]] = field(default_factory=dict)

    def of(self, image_id: str, caption_id: int) -> float:
        """The score of a pair; InputError if it has none."""
        try:
            return self.captions[image_id, caption_id]
        except KeyError:
            raise InputError(self.path, image_id, f"caption {caption_id} has no score", AGAIN) from None

    def of_sentence(self, image_id: str) -> float:
        """The score of an image's sentence; InputError if it has none."""
        try:
            return self.sentences[image_id]
        except KeyError:
            raise InputError(self.path, image_id, "the sentence has no score", AGAIN) from None

    def mean(self, image_id: str, caption_ids: Iterable[int]) -> float:
        """The mean score of an image's captions, rounded: the best candidate must not hang on an order of adding."""
        return round(float(np.mean([self.of(image_id, caption_id) for caption_id in caption_ids])), 6)


def read_scores(alignment: Sequence[Path], matches: Sequence[Path] = ()) -> Scores:
    """Read ALIGNMENT tables: of an arm's images and their own captions, and of captions and their nearest images."""
    captions, sentences = dict[Pair, float](), dict[str, float]()
    for row in tables.concat(alignment, tables.ALIGNMENT).to_pylist():
        if row["caption_id"] is None:
            sentences[row["image_id"]] = round(row["score"], DIGITS)
        else:
            captions[row["image_id"], row["caption_id"]] = round(row["score"], DIGITS)
    nearest: dict[int, dict[str, float]] = {}
    for path in matches:
        for row in tables.read(path, tables.ALIGNMENT).to_pylist():
            nearest.setdefault(row["caption_id"], {})[row["image_id"]] = round(row["score"], DIGITS)
    return Scores(alignment[0].parent, captions, sentences, {each: list(of.items()) for each, of in nearest.items()})


def losing_candidates(captions: Mapping[str, Sequence[int]], scores: Scores) -> dict[str, str]:
    """The images, of those with these `captions`, whose sentence another candidate shows better, with the reason.

    The mean score of the captions decides; of equal ones the earlier candidate is used.
    """
    best = dict[str, tuple[float, str]]()
    means = {image_id: scores.mean(image_id, of_image) for image_id, of_image in captions.items()}
    for image_id in sorted(captions, key=candidate_order):
        first = first_candidate_id(image_id)
        if first not in best or means[image_id] > best[first][0]:
            best[first] = means[image_id], image_id
    reasons = dict[str, str]()
    for image_id, mean in means.items():
        highest, used = best[first_candidate_id(image_id)]
        if used != image_id:
            reasons[image_id] = f"another candidate is used: its captions' mean is {mean:.3f}, {used} has {highest:.3f}"
    return reasons


def candidate_order(image_id: str) -> tuple[str, int]:
    """The sort key by sentence and number of the candidate."""
    return first_candidate_id(image_id), candidate_number(image_id)


def unshown_sentences(image_ids: Iterable[str], scores: Scores, settings: AlignmentConfig) -> dict[str, str]:
    """The images whose sentence scores too low, with the reason."""
    limit = settings.min_sentence_score
    if limit is None:
        return {}
    low = ((image_id, scores.of_sentence(image_id)) for image_id in image_ids)
    reason = f"below alignment.min_sentence_score={limit}"
    return {image_id: f"{reason}: its sentence's score is {score:.3f}" for image_id, score in low if score < limit}


@dataclass(frozen=True)
class ScoreLimits:
    """The lowest score that a pair may have: of any image, and of each image by its best caption."""

    lowest: float
    of_images: Mapping[str, float]

    def of(self, image_id: str) -> float:
        """The lowest score that a pair of this image may have."""
        return max(self.lowest, self.of_images.get(image_id, -np.inf))


def low_pairs(pairs: Sequence[Pair], scores: Scores, settings: AlignmentConfig) -> tuple[dict[Pair, str], ScoreLimits]:
    """The pairs that are dropped, with the reason, and the lowest scores that others may have.

    With `drop_share` the lowest score is that of the lowest pair that is left.
    """
    scored = {pair: scores.of(*pair) for pair in pairs}
    line = -np.inf if settings.min_score is None else settings.min_score
    dropped = {
        pair: f"below alignment.min_score={line}: its score is {score:.3f}"
        for pair, score in scored.items()
        if score < line
    }
    order = sorted(pairs, key=lambda pair: (scored[pair], _tie(pair)))
    lowest = order[: int(settings.drop_share * len(pairs) + 1e-9)]  # 0.29 of 100 are 29, in floating point as well
    if lowest:
        reason = f"among the lowest {settings.drop_share:g} of the arm's scores (alignment.drop_share)"
        dropped |= {pair: f"{reason}: its score is {scored[pair]:.3f}" for pair in lowest if pair not in dropped}
        line = max(line, scored[order[len(lowest)]])
    limits = ScoreLimits(line, _image_limits(scored, settings.max_below_best))
    dropped |= {
        pair: f"more than alignment.max_below_best={settings.max_below_best} below the best of its image: "
        f"its score is {score:.3f}, {limits.of_images[pair[0]]:.3f} is needed"
        for pair, score in scored.items()
        if pair not in dropped and score < limits.of_images.get(pair[0], -np.inf)
    }
    return dropped, limits


def _image_limits(scored: Mapping[Pair, float], max_below_best: float | None) -> dict[str, float]:
    """The best score of each image less `max_below_best`, rounded as scores are; empty without it."""
    if max_below_best is None:
        return {}
    best = dict[str, float]()
    for (image_id, _), score in scored.items():
        best[image_id] = max(best.get(image_id, -np.inf), score)
    return {image_id: round(score - max_below_best, DIGITS) for image_id, score in best.items()}


def _tie(pair: Pair) -> int:
    """The order of pairs with equal scores: by a hash, so that no image or caption comes first for its number."""
    return item_seed(f"{pair[0]}/{pair[1]}", 0)


@dataclass(frozen=True)
class Unmatched:
    """Captions without a pair: the best score of each with an image of its own, and the `images` it may get instead.

    A pair that is `taken` is not made again. `pairs` are those that are left; an image may have `at_most` captions,
    None: any number. Only the `nearest` images of a caption count.
    """

    captions: Mapping[int, float]
    images: Set[str]
    taken: Set[Pair]
    pairs: Collection[Pair]
    at_most: int | None
    nearest: int


def matched_pairs(
    without: Unmatched, scores: Scores, limits: ScoreLimits
) -> tuple[list[tuple[Pair, float]], dict[int, str]]:
    """New pairs with their scores: each caption with the nearest image that shows it well and better than its own.

    Also the captions for which there is none, with the reason. The highest scores choose first.
    """
    counts = Counter(image_id for image_id, _ in without.pairs)
    found, reasons = dict[int, tuple[Pair, float]](), dict[int, str]()
    for caption_id, image_id, score in _choices(without, scores):
        needed = max(limits.of(image_id), without.captions[caption_id])
        if score < limits.of(image_id) or score <= without.captions[caption_id]:
            reasons.setdefault(
                caption_id, f"no other image shows it: the best scores {score:.3f}, not above {needed:.3f}"
            )
        elif without.at_most is not None and counts[image_id] >= without.at_most:
            reasons.setdefault(caption_id, f"no other image shows it: {image_id} has its captions")
        elif caption_id not in found:
            found[caption_id] = (image_id, caption_id), score
            counts[image_id] += 1
    none = "none of its nearest images is used"
    dropped = {each: reasons.get(each, none) for each in without.captions if each not in found}
    return [found[caption_id] for caption_id in sorted(found)], dropped


def _choices(without: Unmatched, scores: Scores) -> list[tuple[int, str, float]]:
    """Each caption with its nearest images of those it may be paired with, the highest scores first."""
    choices = list[tuple[int, str, float]]()
    for caption_id in without.captions:
        near = [
            (image_id, score) for image_id, score in scores.matches.get(caption_id, ()) if image_id in without.images
        ]
        choices += [
            (caption_id, image_id, score)
            for image_id, score in near[: without.nearest]
            if (image_id, caption_id) not in without.taken
        ]
    return sorted(choices, key=lambda choice: (-choice[2], choice[0], choice[1]))


def weights(scores: Sequence[float], temperature: float | None) -> list[float | None]:
    """The weight exp(score / temperature) of each pair, divided by their mean; None without a temperature."""
    if temperature is None:
        return [None] * len(scores)
    exponents = np.asarray(scores, np.float64) / temperature
    values = np.exp(exponents - exponents.max())
    return [float(f"{value:.6g}") for value in values / values.mean()]
