"""One arm's scores on the test set."""

from collections.abc import Sequence, Set

from icsd import tables
from icsd.errors import InputError
from icsd.evaluation.scores import score, tokenise
from icsd.references import read_references


def score_captions(
    predictions: str, captions: str, scores: str, arm: str, seed: int, metrics: Sequence[str], samples: int
) -> None:
    """Write the SCORES of `predictions` against `captions`, which must describe the same pictures.

    The resamples are drawn alike for every arm and seed, so that arms are compared on the same pictures.
    """
    references = read_references(captions)
    predicted = read_predictions(predictions, references.keys(), captions)
    ids = sorted(references)
    tokenised = tokenise([references[each] for each in ids], [predicted[each] for each in ids])
    found = score(tokenised, metrics, samples, seed=0)
    rows = [
        {"arm": arm, "seed": seed, "metric": s.metric, "value": s.value, "low": s.low, "high": s.high} for s in found
    ]
    tables.write(scores, tables.SCORES, rows)


def read_predictions(path: str, pictures: Set[str], captions: str) -> dict[str, str]:
    """The predicted caption of each of the `pictures`, which `captions` describes; InputError if there are others."""
    predicted = {row["image_id"]: row["caption"] for row in tables.read(path, tables.PREDICTIONS).to_pylist()}
    odd = sorted(pictures ^ predicted.keys())
    if odd:
        problem = f"and {len(odd) - 1} more pictures are not in both this and {captions}"
        raise InputError(path, odd[0], problem, "delete the predictions and run again")
    return predicted
