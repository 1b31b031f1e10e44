"""Score a captioner's captions: the PREDICTIONS of a run, or a COCO results file of any captioner."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.languages import ENGLISH
from icsd.core.metrics import read_domains, read_references
from icsd.core.text import markdown_table
from icsd.corpora import Corpus
from icsd.corpora.coco_results import read_results
from icsd.corpora.corpus import ALL as EVERY_SPLIT
from icsd.stages.evaluation.bootstrap import Score, Tokenised, score_sets, tokenise
from icsd.stages.evaluation.clip_score import clip_scores_of
from icsd.stages.evaluation.spice import Spice


@dataclass(frozen=True)
class Scoring:
    """The metrics and their settings. CLIPScore is computed if `clip_model` names a model."""

    metrics: Sequence[str]
    samples: int
    spice: Spice
    clip_model: str | None = None
    batch_size: int = 64
    threads: int = 1
    language: str = ENGLISH


@dataclass(frozen=True)
class ScoredFiles:
    """The tables of a test set, and a captioner's PREDICTIONS of it. `vectors` is CLIPScore's table."""

    predictions: str
    captions: str
    domains: str
    vectors: str | None = None


def score_captions(files: ScoredFiles, scoring: Scoring, scores: str, arm: str, seed: int, test: str) -> None:
    """Write the SCORES of the predictions against the captions, which must describe the same pictures.

    The rows of a domain have the test `<test>/<domain>`. Every arm and seed has the same resamples, so that arms are
    compared on the same pictures.
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
    """Score each set of pictures. The sets index the pictures in the order of `predicted`."""
    texts = [references[each] for each in predicted]
    captions = tokenise(texts, list(predicted.values()), scoring.language)
    spice = _spice(captions, scoring) if "SPICE" in scoring.metrics else {}
    of_coco = [name for name in scoring.metrics if name != "SPICE"]
    return score_sets(captions, sets, of_coco, scoring.samples, seed=0, means=spice | dict(clip or {}))


def sets_of(test: str, pictures: Sequence[str], domains: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Map the test's name to the rows of all pictures, and `<test>/<domain>` to those of each domain."""
    sets = {test: np.arange(len(pictures))}
    for domain in sorted({domains[each] for each in pictures if each in domains}):
        sets[f"{test}/{domain}"] = np.array([n for n, each in enumerate(pictures) if domains.get(each) == domain])
    return sets


def read_predictions(path: str, pictures: Set[str], captions: str) -> dict[str, str]:
    """Return the predicted caption of each picture that `captions` describes. InputError if the pictures differ."""
    predicted = {row["image_id"]: row["caption"] for row in tables.read(path, tables.PREDICTIONS).to_pylist()}
    odd = sorted(pictures ^ predicted.keys())
    if odd:
        problem = f"this and {len(odd) - 1} more pictures are in only one of this table and {captions}"
        raise InputError(path, odd[0], problem, "delete the predictions and run again")
    return predicted


def _spice(captions: Tokenised, scoring: Scoring) -> dict[str, np.ndarray]:
    return {"SPICE": scoring.spice.f_scores(captions.references, captions.candidates, scoring.threads)}


ALL = "all"  # the set of all pictures
DIGITS = 3  # as coco-caption prints its scores


def score_results(results: Path, annotations: Path, scoring: Scoring, partial: bool = False) -> str:
    """Return the scores of a COCO results file as a Markdown table, with a row for each domain.

    With `partial`, only the pictures of the results are scored.
    """
    scores, pictures, captions = scores_of_results(results, annotations, scoring, partial)
    about = f"{pictures:,} pictures with {captions:,} captions, with 95% bootstrap intervals over the pictures"
    names = [score.metric for score in scores[ALL]]
    rows = [[name.removeprefix(f"{ALL}/"), *map(_cell, of_set)] for name, of_set in scores.items()]
    return "\n".join([about, "", *markdown_table(["", *names], rows)])


def scores_of_results(
    results: Path, annotations: Path, scoring: Scoring, partial: bool = False
) -> tuple[dict[str, list[Score]], int, int]:
    """Return the scores of all pictures and of each domain, and the numbers of pictures and of true captions."""
    known = {each.image_id: each for each in Corpus((annotations,), split=EVERY_SPLIT).pictures(files=False)}
    predicted = read_results(results, known.keys(), annotations, partial)
    references = {
        image_id: [caption for _, caption in sorted(known[image_id].captions)] for image_id in sorted(predicted)
    }
    _check_described(references, annotations)
    texts = {str(image_id): predicted[image_id] for image_id in references}
    true = {str(image_id): captions for image_id, captions in references.items()}
    domains = {str(each.image_id): each.domain for each in known.values() if each.domain is not None}
    scores = score_predicted(true, texts, sets_of(ALL, list(texts), domains), scoring)
    return scores, len(true), sum(map(len, true.values()))


def _check_described(references: dict[int, list[str]], annotations: Path) -> None:
    without = [image_id for image_id, captions in references.items() if not captions]
    if without:
        problem = f"has no caption to score against, nor have {len(without) - 1:,} more images"
        hint = "add a caption, or remove the image from the annotations and the results"
        raise InputError(annotations, f"image {without[0]}", problem, hint)


def _cell(score: Score) -> str:
    return " ".join([f"{score.value:.{DIGITS}f}", f"({score.low:.{DIGITS}f} to {score.high:.{DIGITS}f})"])
