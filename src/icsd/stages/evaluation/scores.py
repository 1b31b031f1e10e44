"""Scores of predicted captions with 95% intervals: coco-caption's metrics, bootstrapped over pictures."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from icsd.core import metrics
from icsd.stages.evaluation import java

INTERVAL = (2.5, 97.5)  # percentiles of the resampled scores
SHOWN = {"ROUGE_L": "ROUGE-L"}  # what coco-caption's names are in tables

Words = Sequence[str]
Rows = np.ndarray  # of a set's pictures among all, [m]
Numbers = np.ndarray  # what a metric counts in each picture, [n] or [n, counts]


@dataclass(frozen=True)
class Score:
    """One metric's value on all pictures and its 95% interval, in the metric's own scale."""

    metric: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Tokenised:
    """Captions for the metrics: the true ones [n][references] of each picture and the predicted one [n]."""

    references: list[list[str]]
    candidates: list[str]

    def of(self, rows: Rows) -> "Tokenised":
        """Those of some of the pictures."""
        return Tokenised([self.references[row] for row in rows], [self.candidates[row] for row in rows])


def tokenise(references: Sequence[Words], candidates: Words) -> Tokenised:
    """Both sides through the PTB tokeniser, in one start of Java."""
    flat = [caption for captions in references for caption in captions]
    words = iter(java.ptb_tokenize([*flat, *candidates]))
    return Tokenised([[next(words) for _ in captions] for captions in references], list(words))


def score(captions: Tokenised, names: Sequence[str], samples: int, seed: int) -> list[Score]:
    """The metrics of `names` on all pictures."""
    return score_sets(captions, {"": np.arange(len(captions.candidates))}, names, samples, seed)[""]


def score_sets(
    captions: Tokenised,
    sets: Mapping[str, Rows],
    names: Sequence[str],
    samples: int,
    seed: int,
    means: Mapping[str, Numbers] | None = None,
) -> dict[str, list[Score]]:
    """The metrics of `names` (BLEU gives four) on each of the sets of pictures, each with its interval.

    `means` are further metrics, worked out already: their value for each of all pictures, [n].
    A resample draws pictures of a set with replacement, the same ones for every metric. CIDEr, ROUGE-L and `means` are
    means over pictures; BLEU and METEOR, which are no means, are worked out anew from the drawn pictures' counts.
    CIDEr's document frequencies are those of the whole set's references, in every resample.
    """
    with ExitStack() as opened:
        meteor = opened.enter_context(java.meteor()) if "METEOR" in names else None
        numbers = {name: _numbers(name, captions, meteor) for name in names if name != "CIDEr"} | dict(means or {})
        found = {}
        for key, rows in sets.items():
            counts = resampled(len(rows), samples, seed)
            of_set = {name: each[rows] for name, each in numbers.items()}
            if "CIDEr" in names:
                part = captions.of(rows)
                of_set["CIDEr"] = metrics.cider(part.references, part.candidates)
            order = [*names, *(means or {})]
            found[key] = [one for name in order for one in _scores(name, counts, of_set[name], meteor)]
    return found


def resampled(pictures: int, samples: int, seed: int) -> np.ndarray:
    """How often each picture is in each resample, [1 + samples, pictures]; first every picture once."""
    draws = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), size=samples)
    return np.concatenate([np.ones((1, pictures)), draws])


def with_interval(name: str, values: np.ndarray) -> Score:
    """`values` [1 + samples]: the score on all pictures, then those of the resamples."""
    low, high = np.percentile(values[1:], INTERVAL)
    return Score(name, float(values[0]), float(low), float(high))


def _numbers(name: str, captions: Tokenised, meteor: java.Meteor | None) -> Numbers:
    """What a metric counts in a picture, whichever pictures are beside it."""
    if meteor is not None and name == "METEOR":
        return meteor.statistics(captions.references, captions.candidates)
    count = {"BLEU": metrics.bleu_statistics, "ROUGE_L": metrics.rouge_l}[name]
    return count(captions.references, captions.candidates)


def _scores(name: str, counts: np.ndarray, numbers: Numbers, meteor: java.Meteor | None) -> list[Score]:
    """The scores on the resamples of a set, whose pictures have these numbers."""
    sums = counts @ numbers
    if name == "BLEU":
        orders = enumerate(metrics.bleu(sums).T, start=1)
        return [with_interval(f"BLEU-{order}", column) for order, column in orders]
    if meteor is not None and name == "METEOR":
        return [with_interval("METEOR", np.asarray([meteor.score(each) for each in sums]))]
    return [with_interval(SHOWN.get(name, name), sums / counts.sum(axis=1))]
