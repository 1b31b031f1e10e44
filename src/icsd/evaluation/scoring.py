"""One captioner's scores on one test set, and on each of its domains."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from icsd import tables
from icsd.errors import InputError
from icsd.evaluation.clip_score import clip_scores_of
from icsd.evaluation.scores import Score, Tokenised, score_sets, tokenise
from icsd.evaluation.spice import Spice
from icsd.references import read_domains, read_references


@dataclass(frozen=True)
class Scoring:
    """What is scored, and how; CLIPScore where `clip_model` names one."""

    metrics: Sequence[str]
    samples: int
    spice: Spice
    clip_model: str | None = None
    batch_size: int = 64
    threads: int = 1


@dataclass(frozen=True)
class ScoredFiles:
    """The tables of a test set, and a captioner's PREDICTIONS of it; `vectors` are CLIPScore's."""

    predictions: str
    captions: str
    domains: str
    vectors: str | None = None


def score_captions(files: ScoredFiles, scoring: Scoring, scores: str, arm: str, seed: int, test: str) -> None:
    """Write the SCORES of the predictions against the captions, which must describe the same pictures.

    The rows of a domain have the test `<test>/<domain>`. The resamples are drawn alike for every arm and seed, so that
    arms are compared on the same pictures.
    """
    references = read_references(files.captions)
    predicted = read_predictions(files.predictions, references.keys(), files.captions)
    predicted = {image_id: predicted[image_id] for image_id in sorted(references)}
    clip = {}
    if scoring.clip_model is not None and files.vectors is not None:
        clip = clip_scores_of(files.vectors, scoring.clip_model, predicted, scoring.batch_size)
    sets = sets_of(test, list(predicted), read_domains(files.domains))
    found = score_predicted(references, predicted, sets, scoring, clip)
    rows = [
        {"arm": arm, "seed": seed, "test": name, "metric": s.metric, "value": s.value, "low": s.low, "high": s.high}
        for name, of_set in found.items()
        for s in of_set
    ]
    tables.write(scores, tables.SCORES, rows)


def score_predicted(
    references: Mapping[str, Sequence[str]],
    predicted: Mapping[str, str],
    sets: Mapping[str, np.ndarray],
    scoring: Scoring,
    clip: Mapping[str, np.ndarray] | None = None,
) -> dict[str, list[Score]]:
    """The scores of each set, whose rows count the pictures in the order of `predicted`."""
    captions = tokenise([references[each] for each in predicted], list(predicted.values()))
    spice = _spice(captions, scoring) if "SPICE" in scoring.metrics else {}
    of_coco = [name for name in scoring.metrics if name != "SPICE"]
    return score_sets(captions, sets, of_coco, scoring.samples, seed=0, means=spice | dict(clip or {}))


def sets_of(test: str, pictures: Sequence[str], domains: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The rows of all pictures by the test's name, then those of each of its domains by `<test>/<domain>`."""
    sets = {test: np.arange(len(pictures))}
    for domain in sorted({domains[each] for each in pictures if each in domains}):
        sets[f"{test}/{domain}"] = np.array([n for n, each in enumerate(pictures) if domains.get(each) == domain])
    return sets


def read_predictions(path: str, pictures: Set[str], captions: str) -> dict[str, str]:
    """The predicted caption of each of the `pictures`, which `captions` describes; InputError if there are others."""
    predicted = {row["image_id"]: row["caption"] for row in tables.read(path, tables.PREDICTIONS).to_pylist()}
    odd = sorted(pictures ^ predicted.keys())
    if odd:
        problem = f"and {len(odd) - 1} more pictures are not in both this and {captions}"
        raise InputError(path, odd[0], problem, "delete the predictions and run again")
    return predicted


def _spice(captions: Tokenised, scoring: Scoring) -> dict[str, np.ndarray]:
    return {"SPICE": scoring.spice.f_scores(captions.references, captions.candidates, scoring.threads)}
