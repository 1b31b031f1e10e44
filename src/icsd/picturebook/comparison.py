"""Compare finished runs of the claim: a page with a row for each setting and arm, and the differences between them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icsd.core.errors import InputError
from icsd.core.text import markdown_table
from icsd.picturebook.claim import (
    DRAWN,
    KEPT,
    ON_VAL,
    PAIRS,
    ArmSeed,
    PictureCounts,
    read_counts,
    read_quality,
)
from icsd.picturebook.resampling import Trained, Values, difference, mean_of, score_resamples, t_interval
from icsd.stages.evaluation.bootstrap import Score, resampled

METRICS = {"CIDEr": "CIDEr", "BLEU-4": "BLEU-4", "objects": "objects named", "true objects": "of them true"}
SIZES = {DRAWN: "drawn", KEPT: "kept", PAIRS: "pairs"}

Side = tuple[str, str]  # a setting and an arm
Question = tuple[Side, Side]  # a difference: by how much does the first side exceed the second?
Measures = Mapping[str, float]


@dataclass(frozen=True)
class MeasuredRun:
    """The tables of a finished run: one drawing of the pictures in one setting. `arms` are the measures of each."""

    pictures: list[str]
    counts: dict[ArmSeed, PictureCounts]
    arms: Mapping[str, Measures]
    test: Measures


@dataclass(frozen=True)
class Results:
    """The captioners and the measures of each side, by drawing; and the measures of the test pictures' captions."""

    trained: dict[Side, Trained]
    measures: dict[Side, dict[int, Measures]]
    test: Measures
    pictures: int


def read_run(folder: Path, arms: Iterable[str]) -> MeasuredRun:
    """Read the tables of a finished run below its folder; alignment.parquet is there if its pairs have scores."""
    counts = folder / "benchmark/counts.parquet"
    pictures, captioners = read_counts(counts)
    missing = [arm for arm in arms if not any(arm == of for of, _ in captioners)]
    if missing:
        raise InputError(counts, missing[0], "has no captioner of this arm", "run the benchmark without --collect")
    measures = {arm: read_quality(folder / f"benchmark/arms/{arm}.parquet")[arm] for arm in arms}
    alignment = folder / "benchmark/alignment.parquet"
    of_scores = read_quality(alignment) if alignment.is_file() else {}
    measures = {arm: each | of_scores.get(arm, {}) for arm, each in measures.items()}
    own = {run: each for run, each in captioners.items() if run[0] in measures}
    return MeasuredRun(pictures, own, measures, read_quality(folder / "benchmark/test.parquet")["test"])


def score_runs(runs: Mapping[tuple[str, int], MeasuredRun], samples: int = 1000) -> Results:
    """Score all captioners on the same resamples of the test pictures. `runs` is by setting and drawing.

    InputError if two runs have different test pictures.
    """
    first = next(iter(runs.values()))
    counts = resampled(len(first.pictures), samples, seed=0)
    trained: dict[Side, dict[tuple[int, int], Values]] = {}
    measures: dict[Side, dict[int, Measures]] = {}
    for (setting, drawing), run in runs.items():
        if run.pictures != first.pictures:
            place = f"drawing {drawing} of setting {setting}"
            raise InputError(place, "", "has other test pictures than another run", "give all runs the same pictures")
        for (arm, seed), each in run.counts.items():
            trained.setdefault((setting, arm), {})[drawing, seed] = score_resamples(each, counts)
        for arm, each_measures in run.arms.items():
            measures.setdefault((setting, arm), {})[drawing] = each_measures
    return Results(dict(trained), measures, first.test, len(first.pictures))


def best_setting(results: Results, arm: str, settings: Iterable[str]) -> str | None:
    """Return the setting whose captioners of this arm are best on val, of those with most drawings; None without any.

    Val chose the checkpoints too. The test pictures have no part in the choice.
    """
    finished = {each: results.measures[each, arm] for each in settings if (each, arm) in results.measures}
    most = max((len(by_drawing) for by_drawing in finished.values()), default=0)
    means = {each: _mean(of, ON_VAL) for each, of in finished.items() if len(of) == most}
    return max(means, key=lambda each: means[each], default=None)


def sides_table(results: Results, sides: Iterable[Side]) -> list[str]:
    """Return a Markdown table with a row for each side that has results."""
    header = [
        "setting", "arm", "drawings", "trainings", *SIZES.values(), "objects seen", *METRICS.values(), "drawn a point",
    ]  # fmt: skip
    return markdown_table(header, [_side_row(results, side) for side in sides if side in results.trained], left=2)


def differences_table(results: Results, questions: Iterable[Question]) -> list[str]:
    """Return a Markdown table with a row for each question whose sides share a training; empty without any."""
    header = ["difference", "drawings", "pictures drawn", "CIDEr", "by drawing", "by t", "BLEU-4", "of them true"]
    rows = [_difference_row(results, *sides) for sides in questions if _answered(results, *sides)]
    return markdown_table(header, rows) if rows else []


def alignment_table(results: Results, scores: Mapping[str, str]) -> list[str]:
    """Return a Markdown table of the AUC of scores against the probe; empty without any.

    `scores` maps the name of a score to a setting that has it.
    """
    rows = [
        [name, side[1], *_alignment_cells(of_side)]
        for name, setting in scores.items()
        for side, of_side in results.measures.items()
        if side[0] == setting and all("AUC of captions" in each for each in of_side.values())
    ]
    header = ["score", "arm", "true pairs", "AUC of pairs", "AUC of sentences"]
    return markdown_table(header, rows, left=2) if rows else []


def _alignment_cells(by_drawing: Mapping[int, Measures]) -> list[str]:
    areas = [
        ", ".join(f"{by_drawing[drawing][f'AUC of {kind}']:.3f}" for drawing in sorted(by_drawing))
        for kind in ("captions", "sentences")
    ]
    return [_times_100(_mean(by_drawing, "true captions")), *areas]


def claim_page(
    results: Results, questions: Mapping[str, Sequence[Question]], scores: Mapping[str, str] | None = None
) -> str:
    """Return a Markdown page: all sides, and the differences of `questions` under their headings.

    `scores` is that of `alignment_table`.
    """
    lines = ["# The claim, measured on the picture book", "", introduction(results), ""]
    lines += [*sides_table(results, results.trained), "", _about_differences(), ""]
    for heading, asked in questions.items():
        table = differences_table(results, asked)
        lines += [f"{heading}:", "", *table, ""] if table else []
    table = alignment_table(results, scores or {})
    lines += [_ABOUT_ALIGNMENT, "", *table, ""] if table else []
    return "\n".join(lines)


_ABOUT_ALIGNMENT = (
    "Scores of pairs beside the probe. A pair is true if the probe sees all objects that its caption names; the share "
    "of true pairs is in %, of all pairs drawn. AUC: how often a true pair scores higher than a false one, by drawing:"
)


def introduction(results: Results) -> str:
    """Return the paragraph before a table of sides."""
    return (
        f"Scores times 100 on {results.pictures:,} test pictures, means over drawings and trainings; CIDEr with its "
        "95% interval. Drawn are all pictures, candidates and unused ones too; kept are those trained on. Objects "
        "seen: share of the objects named in the training pairs, in %, that the probe finds in the picture, in the "
        "colour that is said. Objects named are those of a predicted caption, true those that the probe finds. Drawn "
        "a point: pictures drawn for each point of CIDEr. The test pictures' own captions name "
        f"{results.test['objects named']:.2f} objects, {_times_100(results.test['of them seen'])}% of them true."
    )


def _about_differences() -> str:
    return (
        "Differences, with 95% intervals from resampling drawings, their trainings and the test pictures; both sides "
        "have the same ones. With few drawings these intervals are too narrow: in a simulation (docs/log.md) those of "
        "three drawings held the truth in 76 to 88% of cases, of five in 84 to 93%, of eight in 88 to 94%. The column "
        "by t has Student's 95% interval of the drawings' means, which held it in 94 to 96% of all these cases. "
        "Pictures drawn: by the first side / by the other, means over these drawings."
    )


def _answered(results: Results, better: Side, other: Side) -> bool:
    return bool(results.trained.get(better, {}).keys() & results.trained.get(other, {}).keys())


def _side_row(results: Results, side: Side) -> list[str]:
    trained, measures = results.trained[side], results.measures[side]
    scores = {metric: mean_of(trained, metric) for metric in METRICS}
    drawn, points = _mean(measures, DRAWN), 100 * scores["CIDEr"].value
    return [
        *side,
        f"{len(measures)}",
        f"{len(trained)}",
        *(f"{_mean(measures, size):,.0f}" for size in SIZES),
        _times_100(_mean(measures, "of them seen")),
        _interval(scores["CIDEr"]),
        _times_100(scores["BLEU-4"].value),
        f"{scores['objects'].value:.2f}",
        _times_100(scores["true objects"].value),
        f"{drawn / points:.1f}" if drawn and points else "–",
    ]


def _difference_row(results: Results, better: Side, other: Side) -> list[str]:
    trained = results.trained[better], results.trained[other]
    found = {metric: difference(*trained, metric) for metric in ("CIDEr", "BLEU-4", "true objects")}
    by_drawing = found["CIDEr"][1]
    by_t = t_interval(by_drawing)
    return [
        _names(better, other),
        f"{len(by_drawing)}",
        " / ".join(f"{_mean_drawn(results, *sides):,.0f}" for sides in ((better, other), (other, better))),
        _interval(found["CIDEr"][0], sign="+"),
        ", ".join(_times_100(each, "+") for each in by_drawing),
        f"{_times_100(by_t[0], '+')} to {_times_100(by_t[1], '+')}" if by_t else "–",
        *(_interval(found[metric][0], sign="+") for metric in ("BLEU-4", "true objects")),
    ]


def _names(better: Side, other: Side) -> str:
    """Return the difference as text; a setting that both sides have stands once."""
    if better[0] == other[0]:
        return f"{better[0]}: {better[1]} − {other[1]}"
    return f"{' '.join(better)} − {' '.join(other)}"


def _mean_drawn(results: Results, side: Side, other: Side) -> float:
    """Return how many pictures one side has drawn, a mean over the drawings that both sides have."""
    shared = {drawing for drawing, _ in results.trained[side].keys() & results.trained[other].keys()}
    return _mean({drawing: results.measures[side][drawing] for drawing in shared}, DRAWN)


def _mean(by_drawing: Mapping[int, Measures], measure: str) -> float:
    return float(np.mean([each[measure] for each in by_drawing.values()]))


def _interval(score: Score, sign: str = "") -> str:
    value, low, high = (_times_100(number, sign) for number in (score.value, score.low, score.high))
    return f"{value} ({low} to {high})"


def _times_100(value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f}"
