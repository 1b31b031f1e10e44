"""Compute coco-caption's metrics with 95% intervals, by bootstrap over the pictures."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from icsd.core import metrics
from icsd.core.languages import ENGLISH
from icsd.stages.evaluation import java

INTERVAL = (2.5, 97.5)  # percentiles of the resampled scores
SHOWN = {"ROUGE_L": "ROUGE-L"}  # coco-caption's names and those in tables, where they differ

Words = Sequence[str]
Rows = np.ndarray  # indices of a set's pictures among all, [m]
Numbers = np.ndarray  # a metric's value or counts for each picture, [n] or [n, counts]


@dataclass(frozen=True)
class Score:
    """A metric's value on all pictures and its 95% interval, in the metric's own scale."""

    metric: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Tokenised:
    """Tokenised captions of n pictures: the true ones, [n][references], and the predicted ones, [n]."""

    references: list[list[str]]
    candidates: list[str]

    def of(self, rows: Rows) -> "Tokenised":
        """Return the captions of some of the pictures."""
        return Tokenised([self.references[row] for row in rows], [self.candidates[row] for row in rows])


def tokenise(references: Sequence[Words], candidates: Words, language: str = ENGLISH) -> Tokenised:
    """Tokenise both sides with the PTB tokeniser, in one start of Java; of other languages than English by ICU."""
    every = [*(caption for captions in references for caption in captions), *candidates]
    english = language == ENGLISH
    words = iter(java.ptb_tokenize(every) if english else [metrics.plain_tokens(each, language) for each in every])
    return Tokenised([[next(words) for _ in captions] for captions in references], list(words))


def score(captions: Tokenised, names: Sequence[str], samples: int, seed: int) -> list[Score]:
    """Score all pictures by the metrics of `names`."""
    return score_sets(captions, {"": np.arange(len(captions.candidates))}, names, samples, seed)[""]


def score_sets(
    captions: Tokenised,
    sets: Mapping[str, Rows],
    names: Sequence[str],
    samples: int,
    seed: int,
    means: Mapping[str, Numbers] | None = None,
) -> dict[str, list[Score]]:
    """Score each set of pictures by the metrics of `names` (BLEU gives four), with intervals.

    `means` are further metrics that have been computed: their value for each of all pictures, [n].
    A resample draws pictures of a set with replacement, the same ones for every metric. CIDEr, ROUGE-L and `means` are
    means over pictures. BLEU, METEOR and chrF are computed from the summed counts of the resample's pictures.
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
    """Count each picture in each resample, [1 + samples, pictures]. The first row has every picture once."""
    draws = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), size=samples)
    return np.concatenate([np.ones((1, pictures)), draws])


def with_interval(name: str, values: np.ndarray) -> Score:
    """Return the score of `values` [1 + samples]: first that of all pictures, then those of the resamples."""
    low, high = np.percentile(values[1:], INTERVAL)
    return Score(name, float(values[0]), float(low), float(high))


def _numbers(name: str, captions: Tokenised, meteor: java.Meteor | None) -> Numbers:
    """Return a metric's value or counts for each picture. They do not depend on the other pictures."""
    if meteor is not None and name == "METEOR":
        return meteor.statistics(captions.references, captions.candidates)
    counts = {"BLEU": metrics.bleu_statistics, "ROUGE_L": metrics.rouge_l, "chrF": metrics.chrf_statistics}
    return counts[name](captions.references, captions.candidates)


def _scores(name: str, counts: np.ndarray, numbers: Numbers, meteor: java.Meteor | None) -> list[Score]:
    """Score a set, given its resamples and the numbers of its pictures."""
    sums = counts @ numbers
    if name == "BLEU":
        orders = enumerate(metrics.bleu(sums).T, start=1)
        return [with_interval(f"BLEU-{order}", column) for order, column in orders]
    if name == "chrF":
        return [with_interval("chrF", np.asarray([metrics.chrf(each) for each in sums]))]
    if meteor is not None and name == "METEOR":
        return [with_interval("METEOR", np.asarray([meteor.score(each) for each in sums]))]
    return [with_interval(SHOWN.get(name, name), sums / counts.sum(axis=1))]
