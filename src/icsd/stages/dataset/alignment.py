"""Which pairs the scores of images and captions drop, add and weigh, and which candidate of a sentence is used."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from icsd.config import AlignmentConfig
from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import candidate_number, first_candidate_id, item_seed

Pair = tuple[str, int]  # an image and a caption
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
            sentences[row["image_id"]] = row["score"]
        else:
            captions[row["image_id"], row["caption_id"]] = row["score"]
    nearest: dict[int, dict[str, float]] = {}
    for path in matches:
        for row in tables.read(path, tables.ALIGNMENT).to_pylist():
            nearest.setdefault(row["caption_id"], {})[row["image_id"]] = row["score"]
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


def low_pairs(pairs: Sequence[Pair], scores: Scores, settings: AlignmentConfig) -> tuple[dict[Pair, str], float]:
    """The pairs that are dropped, with the reason, and the lowest score that a pair may have."""
    scored = {pair: scores.of(*pair) for pair in pairs}
    line = -np.inf if settings.min_score is None else settings.min_score
    dropped = {
        pair: f"below alignment.min_score={line}: its score is {score:.3f}"
        for pair, score in scored.items()
        if score < line
    }
    lowest = sorted(pairs, key=lambda pair: (scored[pair], _tie(pair)))[: int(settings.drop_share * len(pairs))]
    if lowest:
        share_line = scored[lowest[-1]]
        reason = f"among the lowest {settings.drop_share:g} of the arm's scores (alignment.drop_share)"
        dropped |= {pair: f"{reason}: its score is {scored[pair]:.3f}" for pair in lowest if pair not in dropped}
        line = max(line, share_line)
    if settings.max_below_best is not None:
        best = dict[str, float]()
        for (image_id, _), score in scored.items():
            best[image_id] = max(best.get(image_id, -np.inf), score)
        dropped |= {
            pair: f"more than alignment.max_below_best={settings.max_below_best} below the best of its image: "
            f"its score is {score:.3f}, the best {best[pair[0]]:.3f}"
            for pair, score in scored.items()
            if pair not in dropped and best[pair[0]] - score > settings.max_below_best
        }
    return dropped, float(line)


def _tie(pair: Pair) -> int:
    """The order of pairs with equal scores: by a hash, so that no image or caption comes first for its number."""
    return item_seed(f"{pair[0]}/{pair[1]}", 0)


def matched_pairs(
    captions: Sequence[int], images: set[str], taken: set[Pair], scores: Scores, line: float
) -> tuple[list[tuple[Pair, float]], dict[int, str]]:
    """New pairs with their scores: each caption with the nearest of `images` whose score is not below the line.

    Also the captions for which there is none, with the reason. A pair that is `taken` is not made again.
    """
    found, dropped = list[tuple[Pair, float]](), dict[int, str]()
    for caption_id in captions:
        near = [(image_id, score) for image_id, score in scores.matches.get(caption_id, ()) if image_id in images]
        usable = [(image_id, score) for image_id, score in near if (image_id, caption_id) not in taken]
        if usable and usable[0][1] >= line:
            found.append(((usable[0][0], caption_id), usable[0][1]))
        else:
            best = f": the best scores {usable[0][1]:.3f}, and {line:.3f} are needed" if usable else ""
            dropped[caption_id] = f"none of its {len(scores.matches.get(caption_id, ()))} nearest images shows it{best}"
    return found, dropped


def weights(scores: Sequence[float], temperature: float | None) -> list[float | None]:
    """The weight exp(score / temperature) of each pair, divided by their mean; None without a temperature."""
    if temperature is None:
        return [None] * len(scores)
    exponents = np.asarray(scores, np.float64) / temperature
    values = np.exp(exponents - exponents.max())
    return [float(value) for value in np.round(values / values.mean(), 6)]
