"""Measure a run for the claim, do many contexts beat one: what its arms were trained on, and what their captioners say.

The probe detects the objects in pictures, so it can tell which objects of a caption are true.
`icsd.picturebook.comparison` compares finished runs by these tables.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icsd.config.arms import ARMS
from icsd.core import metrics, tables
from icsd.core.metrics import read_references
from icsd.picturebook.mentions import Objects, count_objects, named_objects
from icsd.picturebook.probe import detect_in_tables
from icsd.stages.evaluation.bootstrap import Tokenised, tokenise
from icsd.stages.evaluation.scoring import read_predictions

DRAWN, KEPT, PAIRS, ON_VAL = "pictures drawn", "pictures kept", "pairs", "CIDEr + BLEU-4 on val"
PAIR_MEASURES = ("objects named", "of them seen", "objects seen", "of them named")

ArmSeed = tuple[str, int]


@dataclass(frozen=True)
class ProbedPictures:
    """The test pictures in the order of `ids`: their captions, from the table `captions`, and the objects detected."""

    captions: str
    ids: list[str]
    references: list[list[str]]
    seen: list[Objects]


@dataclass(frozen=True)
class PictureCounts:
    """A captioner's counts for each of n pictures, from which its scores are computed."""

    cider: np.ndarray  # [n]
    bleu: np.ndarray  # [n, 10], `metrics.bleu_statistics`
    objects: np.ndarray  # [n, 2], objects named and those of them that are true


def measure_arm(
    arm: str, pairs: str, images: Sequence[str], histories: Sequence[str], probe: str, table: str
) -> None:  # fmt: skip
    """Write the QUALITY of an arm: its sizes, its PAIRS by the probe, and its score on val.

    Pictures drawn are all in the IMAGES tables, candidates included, and none for photographs. `count_objects` counts
    the objects that captions name and the probe sees. An object of a picture is named if one of its captions names the
    kind. The score on val is the one by which the trainings of `histories` chose their checkpoints, its mean over them.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    for row in tables.read(pairs, tables.PAIRS).to_pylist():
        captions[row["image_id"]].append(row["caption"])
    drawn = 0 if ARMS[arm].photographs else sum(tables.count(path, tables.IMAGES) for path in images)
    scores = [_best_on_val(path) for path in histories]
    total = sum(map(len, captions.values()))
    measures = {
        DRAWN: (drawn, 1), KEPT: (len(captions), 1), PAIRS: (total, 1), ON_VAL: (sum(scores), len(scores)),
    } | _probed_pairs(captions, detect_in_tables(images, list(captions), Path(probe)))  # fmt: skip
    rows = [
        {"model": arm, "measure": measure, "value": part / whole if whole else 0.0, "items": int(whole)}
        for measure, (part, whole) in measures.items()
    ]
    tables.write(table, tables.QUALITY, rows)


def _probed_pairs(captions: Mapping[str, Sequence[str]], seen: Sequence[Objects]) -> dict[str, tuple[float, float]]:
    """Return each of PAIR_MEASURES as a part and the whole that it is a share of."""
    counts = [
        count_objects(texts, [objects] * len(texts)) for texts, objects in zip(captions.values(), seen, strict=True)
    ]
    named, true = (sum(each[:, column].sum() for each in counts) for column in (0, 1))
    kinds = [{kind for caption in texts for _, kind in named_objects(caption)} for texts in captions.values()]
    shown_and_named = sum(kind in each for objects, each in zip(seen, kinds, strict=True) for _, kind in objects)
    total, shown = sum(map(len, captions.values())), sum(map(len, seen))
    shares = ((named, total), (true, named), (shown, len(seen)), (shown_and_named, shown))
    return dict(zip(PAIR_MEASURES, shares, strict=True))


def _best_on_val(history: str) -> float:
    """Return the largest CIDEr + BLEU-4 of a training on val."""
    sums: dict[int, float] = defaultdict(float)
    for row in tables.read(history, tables.HISTORY, ["step", "metric", "value"]).to_pylist():
        if row["metric"] is not None:
            sums[row["step"]] += row["value"]
    return max(sums.values())


def read_quality(table: str | Path) -> dict[str, dict[str, float]]:
    """Return the measures in a QUALITY table by model, such as an arm."""
    measures: dict[str, dict[str, float]] = defaultdict(dict)
    for row in tables.read(table, tables.QUALITY).to_pylist():
        measures[row["model"]][row["measure"]] = row["value"]
    return dict(measures)


def read_probed(images: str, captions: str, probe: str) -> ProbedPictures:
    """Read the pictures of the IMAGES table that CAPTIONS describes, and detect their objects with the probe."""
    references = read_references(captions)
    ids = sorted(references)
    seen = detect_in_tables([images], ids, Path(probe))
    return ProbedPictures(captions, ids, [references[each] for each in ids], seen)


def count_captions(predictions: Mapping[ArmSeed, str], test: ProbedPictures, counts: str, quality: str) -> None:
    """Write the CAPTION_COUNTS of all captioners, and the QUALITY of the test pictures' own captions.

    `predictions` maps each arm and seed to its table.
    """
    by_run = [read_predictions(path, set(test.ids), test.captions) for path in predictions.values()]
    counted = count_pictures([[predicted[each] for each in test.ids] for predicted in by_run], test)
    rows = [
        {
            "arm": arm, "seed": seed, "image_id": image_id, "cider": each.cider[n], "bleu": each.bleu[n],
            "named": each.objects[n, 0], "true": each.objects[n, 1],
        }
        for (arm, seed), each in zip(predictions, counted, strict=True)
        for n, image_id in enumerate(test.ids)
    ]  # fmt: skip
    tables.write(counts, tables.CAPTION_COUNTS, rows)
    own = dict(zip(test.ids, test.references, strict=True))
    measures = [
        {"model": "test", "measure": measure, "value": part / whole if whole else 0.0, "items": int(whole)}
        for measure, (part, whole) in _probed_pairs(own, test.seen).items()
    ]
    tables.write(quality, tables.QUALITY, measures)


def count_pictures(predicted: Sequence[Sequence[str]], test: ProbedPictures) -> list[PictureCounts]:
    """Count for each captioner, whose captions are in the order of the test's pictures."""
    words = tokenise(test.references, [caption for captions in predicted for caption in captions])
    n = len(test.ids)
    tokenised = [
        Tokenised(words.references, words.candidates[start : start + n]) for start in range(0, n * len(predicted), n)
    ]
    return [
        PictureCounts(
            metrics.cider(each.references, each.candidates),
            metrics.bleu_statistics(each.references, each.candidates),
            count_objects(captions, test.seen),
        )
        for each, captions in zip(tokenised, predicted, strict=True)
    ]


def read_counts(table: str | Path) -> tuple[list[str], dict[ArmSeed, PictureCounts]]:
    """Return the ids of the test pictures, and in their order the counts of each captioner."""
    by_captioner: dict[ArmSeed, list[dict[str, object]]] = defaultdict(list)
    data = tables.read(table, tables.CAPTION_COUNTS).sort_by([(key, "ascending") for key in tables.CAPTION_COUNTS.key])
    for row in data.to_pylist():
        by_captioner[row["arm"], row["seed"]].append(row)
    ids = [str(row["image_id"]) for row in next(iter(by_captioner.values()), [])]
    return ids, {captioner: _of_rows(rows) for captioner, rows in by_captioner.items()}


def _of_rows(rows: Sequence[Mapping[str, object]]) -> PictureCounts:
    cider, bleu, named, true = (
        np.array([row[column] for row in rows], dtype=np.float64) for column in ("cider", "bleu", "named", "true")
    )
    return PictureCounts(cider, bleu, np.column_stack([named, true]))
