"""Scores of predicted captions with 95% intervals: coco-caption's metrics, bootstrapped over pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from icsd import metrics
from icsd.evaluation import java

INTERVAL = (2.5, 97.5)  # percentiles of the resampled scores

Words = Sequence[str]
Sums = np.ndarray


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


def tokenise(references: Sequence[Words], candidates: Words) -> Tokenised:
    """Both sides through the PTB tokeniser, in one start of Java."""
    flat = [caption for captions in references for caption in captions]
    words = iter(java.ptb_tokenize([*flat, *candidates]))
    return Tokenised([[next(words) for _ in captions] for captions in references], list(words))


def score(captions: Tokenised, names: Sequence[str], samples: int, seed: int) -> list[Score]:
    """The metrics of `names` (BLEU gives four), each with its interval.

    A resample draws pictures with replacement, the same ones for every metric. CIDEr and ROUGE-L are means
    over pictures; BLEU and METEOR, which are no means, are worked out anew from the drawn pictures' counts.
    CIDEr's document frequencies stay those of the whole test set.
    """
    counts = resampled(len(captions.candidates), samples, seed)
    return [one for name in names for one in _METRICS[name](captions, counts)]


def resampled(pictures: int, samples: int, seed: int) -> np.ndarray:
    """How often each picture is in each resample, [1 + samples, pictures]; first every picture once."""
    draws = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), size=samples)
    return np.concatenate([np.ones((1, pictures)), draws])


def with_interval(name: str, values: np.ndarray) -> Score:
    """`values` [1 + samples]: the score on all pictures, then those of the resamples."""
    low, high = np.percentile(values[1:], INTERVAL)
    return Score(name, float(values[0]), float(low), float(high))


def _mean_of(name: str, each: Callable[..., np.ndarray]) -> Callable[[Tokenised, np.ndarray], list[Score]]:
    def metric(captions: Tokenised, counts: np.ndarray) -> list[Score]:
        means = counts @ each(captions.references, captions.candidates) / counts.sum(axis=1)
        return [with_interval(name, means)]

    return metric


def _bleu(captions: Tokenised, counts: np.ndarray) -> list[Score]:
    sums = counts @ metrics.bleu_statistics(captions.references, captions.candidates)
    return [with_interval(f"BLEU-{order}", column) for order, column in enumerate(metrics.bleu(sums).T, start=1)]


def _meteor(captions: Tokenised, counts: np.ndarray) -> list[Score]:
    with java.meteor() as process:
        sums = counts @ process.statistics(captions.references, captions.candidates)
        return [with_interval("METEOR", np.asarray([process.score(each) for each in sums]))]


_METRICS: Mapping[str, Callable[[Tokenised, np.ndarray], list[Score]]] = {
    "BLEU": _bleu,
    "METEOR": _meteor,
    "ROUGE_L": _mean_of("ROUGE-L", metrics.rouge_l),
    "CIDEr": _mean_of("CIDEr", metrics.cider),
}
