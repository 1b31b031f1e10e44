"""Intervals that hold the luck of the drawing, of the training, and of the choice of test pictures.

A resample takes as many drawings as there are, with replacement; for each of them as many of its trainings (seeds),
with replacement; and as many test pictures, with replacement. Trainings are nested in drawings: a two-stage bootstrap
(Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). All captioners describe the same test
pictures, so that these are crossed with the trainings: they are drawn once for all captioners, independently of the
trainings, and a picture's weight is multiplied with a training's (the pigeonhole bootstrap: Owen, 2007,
doi:10.1214/07-AOAS122). No bootstrap of crossed data is exact; with many levels this one is mildly conservative (Owen
and Eckles, 2012, arXiv:1106.2125).

Three drawings are few levels. A bootstrap of n drawings has (n - 1) / n of the variance that their spread tells: two
thirds of three. In 1 / 27 of the resamples all three are the worst one. That is more than 2.5%, so that an interval of
the drawings alone is their range; and the range of three holds the mean of a symmetric distribution in 75% of cases
(1 - 2 / 2^3). `t_interval` has the right width for few drawings, if they are normal, but leaves out what the choice of
test pictures changes in all drawings alike. docs/log.md has the share of cases in which either holds the truth.

What the intervals hold, and what not:

- The luck of the training is counted in both stages: it is part of the spread of the drawings' means, and it is
  resampled within each drawing. With D drawings of S seeds its variance counts (D - 1) / D + (S - 1) / S times: once
  for two of two, 4 / 3 times for three of three, nearly twice for many of both. With few seeds that variance is a large
  part of the whole: the interval is too wide for it, and too narrow for the luck of few drawings.
- A side of one drawing holds no luck of the drawing. Its interval has the seeds and the test pictures alone, and with
  one seed the test pictures alone. It is narrower than the truth, and `t_interval` is None.
- The share of true objects is NaN in a resample of pictures for which a captioner names no object at all. One NaN makes
  both bounds NaN, whatever the weight of that captioner's training. The mean is NaN if it names none in any picture.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from icsd.core import metrics
from icsd.picturebook.claim import PictureCounts
from icsd.stages.evaluation.bootstrap import Score, with_interval

# 97.5% quantiles of Student's t for 1, 2, … degrees of freedom; the last serves for more
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)

Training = tuple[int, int]  # a drawing and a seed
Values = dict[str, np.ndarray]  # each metric on all pictures and on every resample of them: [1 + samples]
Trained = Mapping[Training, Values]  # the captioners of one arm in one setting


def score_resamples(pictures: PictureCounts, counts: np.ndarray) -> Values:
    """Score resamples. `counts` [1 + samples, n] tells how often each picture is in them."""
    named, true = (counts @ pictures.objects).T
    with np.errstate(invalid="ignore"):  # the share of nothing is NaN
        share = true / named
    drawn = counts.sum(axis=1)
    bleu = metrics.bleu(counts @ pictures.bleu)[:, 3]
    return {
        "CIDEr": counts @ pictures.cider / drawn, "BLEU-4": bleu, "objects": named / drawn, "true objects": share,
    }  # fmt: skip


def resampled_trainings(trainings: Sequence[Training], samples: int, seed: int) -> np.ndarray:
    """Return the weight of each training in each resample, [1 + samples, trainings]; a resample's weights sum to 1.

    The first row is the mean: drawings have equal weight, and so have the trainings of a drawing.
    """
    drawings = sorted({drawing for drawing, _ in trainings})
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(drawings), np.full(len(drawings), 1 / len(drawings)), size=samples)
    weights = np.empty((1 + samples, len(trainings)))
    for drawing, of_drawing in zip(drawings, times.T, strict=True):
        own = [n for n, training in enumerate(trainings) if training[0] == drawing]
        weights[0, own] = 1
        weights[1:, own] = rng.multinomial(of_drawing * len(own), np.full(len(own), 1 / len(own)))
        weights[:, own] /= len(drawings) * len(own)
    return weights


def mean_of(trained: Trained, metric: str) -> Score:
    """Return the mean of a metric over drawings and their trainings, with its interval."""
    trainings = sorted(trained)
    return _weighted(metric, trainings, np.array([trained[each][metric] for each in trainings]))


def difference(better: Trained, other: Trained, metric: str) -> tuple[Score, list[float]]:
    """Return the mean by which one side exceeds the other, with its interval, and the mean of each drawing.

    The comparison is paired: by drawing and seed, of those that both sides have, and by test picture. ValueError if
    they share no training.
    """
    trainings = sorted(better.keys() & other.keys())
    if not trainings:
        raise ValueError("the two sides have no drawing and seed in common")
    values = np.array([better[each][metric] - other[each][metric] for each in trainings])
    drawings = np.array([drawing for drawing, _ in trainings])
    by_drawing = [float(values[drawings == drawing, 0].mean()) for drawing in np.unique(drawings)]
    return _weighted(metric, trainings, values), by_drawing


def _weighted(metric: str, trainings: Sequence[Training], values: np.ndarray) -> Score:
    """Return the weighted mean of `values` [trainings, 1 + samples]."""
    # another seed than that of the pictures' resamples, which are independent of these
    weights = resampled_trainings(trainings, values.shape[1] - 1, seed=1)
    return with_interval(metric, (weights.T * values).sum(axis=0))


def t_interval(by_drawing: Sequence[float]) -> tuple[float, float] | None:
    """Return Student's 95% interval of the mean of these; None for fewer than two."""
    n = len(by_drawing)
    if n < 2:
        return None
    half = T_QUANTILES[min(n - 1, len(T_QUANTILES)) - 1] * float(np.std(by_drawing, ddof=1)) / n**0.5
    return float(np.mean(by_drawing)) - half, float(np.mean(by_drawing)) + half
