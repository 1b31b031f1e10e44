"""Measure the claim on the picture book: do many contexts beat one? Arms are compared by their scores and by the probe.

The probe detects the objects in the real test pictures, so it can tell which objects of a caption are true.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icsd.core import metrics, tables
from icsd.core.files import atomic_path
from icsd.core.metrics import read_references
from icsd.core.text import markdown_table
from icsd.picturebook.mentions import Objects, count_objects, named_objects
from icsd.picturebook.probe import detect_in_tables
from icsd.stages.evaluation.bootstrap import Score, Tokenised, resampled, tokenise, with_interval
from icsd.stages.evaluation.comparison import training_size
from icsd.stages.evaluation.scoring import read_predictions

PAIR_MEASURES = ("objects named", "of them seen", "objects seen", "of them named")


def measure_pairs(arm: str, pairs: str, images: Sequence[str], probe: str, table: str) -> None:
    """Write the QUALITY of an arm's PAIRS, whose pictures are in the IMAGES tables.

    `count_objects` counts the objects that captions name and the probe sees. An object of a picture is named if one of
    its captions names the kind.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    for row in tables.read(pairs, tables.PAIRS).to_pylist():
        captions[row["image_id"]].append(row["caption"])
    seen = detect_in_tables(images, list(captions), Path(probe))
    counts = [
        count_objects(texts, [objects] * len(texts)) for texts, objects in zip(captions.values(), seen, strict=True)
    ]
    named, true = (sum(each[:, column].sum() for each in counts) for column in (0, 1))
    kinds = [{kind for caption in texts for _, kind in named_objects(caption)} for texts in captions.values()]
    shown_and_named = sum(kind in each for objects, each in zip(seen, kinds, strict=True) for _, kind in objects)
    total, shown = sum(map(len, captions.values())), sum(map(len, seen))
    shares = ((named, total), (true, named), (shown, len(seen)), (shown_and_named, shown))
    rows = [
        {"model": arm, "measure": measure, "value": part / whole if whole else 0.0, "items": int(whole)}
        for measure, (part, whole) in zip(PAIR_MEASURES, shares, strict=True)
    ]
    tables.write(table, tables.QUALITY, rows)


def read_probed_pairs(paths: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Read the measures of each arm's pairs from its QUALITY table."""
    return {
        arm: {row["measure"]: row["value"] for row in tables.read(path, tables.QUALITY).to_pylist()}
        for arm, path in paths.items()
    }


METRICS = {"CIDEr": "CIDEr", "BLEU-4": "BLEU-4", "objects": "objects named", "true objects": "of them true"}
BY_PROBE = ("objects", "true objects")
COMPARISONS = {
    ("multi", "single"): "at equal pictures",
    ("multi", "single_matched"): "at equal captions",
    ("multi_head", "single"): "the picture's part",
    ("multi", "multi_head"): "the captions' part",
}

ArmSeed = tuple[str, int]
Values = dict[str, np.ndarray]  # each metric on all pictures and on every resample: [1 + samples]


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


def measure_claim(
    predictions: Mapping[ArmSeed, str],
    pairs: Mapping[str, str],
    probed_pairs: Mapping[str, str],
    test: ProbedPictures,
    table: str,
    page: str,
    samples: int,
    name: str = "test",
) -> None:
    """Write the SCORES by the probe, and the page of the comparison.

    `predictions` maps each arm and seed to its table, in the order to show. `pairs` maps each arm to its training
    pairs, `probed_pairs` to their QUALITY by the probe. `name` is the test set's name in the table.
    """
    by_run = [read_predictions(path, set(test.ids), test.captions) for path in predictions.values()]
    counted = count_pictures([[predicted[each] for each in test.ids] for predicted in by_run], test)
    counts = resampled(len(test.ids), samples, seed=0)
    values = {run: score_resamples(each, counts) for run, each in zip(predictions, counted, strict=True)}
    tables.write(table, tables.SCORES, _rows(values, name))
    sizes = {arm: training_size(path) for arm, path in pairs.items()}
    with atomic_path(page) as unfinished:
        unfinished.write_text(claim_page(values, sizes, read_probed_pairs(probed_pairs), test), encoding="utf-8")


def read_probed(images: str, captions: str, probe: str) -> ProbedPictures:
    """Read the pictures of the IMAGES table that CAPTIONS describes, and detect their objects with the probe."""
    references = read_references(captions)
    ids = sorted(references)
    seen = detect_in_tables([images], ids, Path(probe))
    return ProbedPictures(captions, ids, [references[each] for each in ids], seen)


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


def compare(values: Mapping[ArmSeed, Values], better: str, other: str, metric: str) -> tuple[Score, list[float]]:
    """Return the mean over seeds by which one arm exceeds another, with its interval, and the value of each seed.

    The comparison is paired: both arms are scored on the same pictures of each resample and with the same seeds.
    """
    seeds = [seed for arm, seed in values if arm == better]
    differences = np.array([values[better, seed][metric] - values[other, seed][metric] for seed in seeds])
    return with_interval(metric, differences.mean(axis=0)), differences[:, 0].tolist()


def claim_page(
    values: Mapping[ArmSeed, Values],
    sizes: Mapping[str, tuple[int, int]],
    probed_pairs: Mapping[str, Mapping[str, float]],
    test: ProbedPictures,
) -> str:
    """Return a Markdown page: the arms, their differences, and each captioner."""
    arms = [_arm_row(arm, values, sizes) for arm in sizes]
    captioners = [_captioner_row(run, each) for run, each in values.items()]
    return "\n".join([
        "# The claim, measured on the picture book",
        "",
        _introduction(test, seeds=len({seed for _, seed in values})),
        "",
        *markdown_table(["arm", "pictures", "pairs", *METRICS.values()], arms),
        "",
        "What they were trained on: the objects that a caption names and the share of them that the probe finds in its "
        "picture, the objects that it finds in a picture and the share of them that one of its captions names:",
        "",
        *markdown_table(["arm", *PAIR_MEASURES], [_pairs_row(arm, each) for arm, each in probed_pairs.items()]),
        "",
        "Differences, with 95% intervals from resampling the pictures, the same ones for both arms. They tell how far "
        "the result depends on the choice of pictures, the columns by seed how far on the training:",
        "",
        *markdown_table(["", "difference", "CIDEr", "by seed", "BLEU-4", "by seed"], _difference_rows(values), left=2),
        "",
        "Each captioner, with 95% intervals from resampling the pictures:",
        "",
        *markdown_table(["arm", "seed", *METRICS.values()], captioners),
        "",
    ])  # fmt: skip


def _introduction(test: ProbedPictures, seeds: int) -> str:
    each = zip(test.references, test.seen, strict=True)
    counts = np.concatenate([count_objects(captions, [seen] * len(captions)) for captions, seen in each])
    named, true = counts.sum(axis=0)
    means = f", means over {seeds} seeds ± standard deviation" if seeds > 1 else ""
    return (
        f"Scores times 100 on {len(test.ids):,} test pictures{means}. "
        "Objects named are those of a caption; true are those, in %, that the probe finds in the picture, in the "
        f"colour that is said. The test pictures' own captions name {named / len(counts):.2f} objects, "
        f"{_times_100(true / named)}% of them true."
    )


def _rows(values: Mapping[ArmSeed, Values], test: str) -> list[dict[str, object]]:
    intervals = [(run, with_interval(name, each[name])) for run, each in values.items() for name in BY_PROBE]
    return [
        {"arm": arm, "seed": seed, "test": test, "metric": s.metric, "value": s.value, "low": s.low, "high": s.high}
        for (arm, seed), s in intervals
    ]


def _arm_row(arm: str, values: Mapping[ArmSeed, Values], sizes: Mapping[str, tuple[int, int]]) -> list[str]:
    of_seeds = [each for (of, _), each in values.items() if of == arm]
    cells = []
    for name in METRICS:
        numbers = [each[name][0] for each in of_seeds]
        spread = f" ± {_number(name, float(np.std(numbers, ddof=1)))}" if len(numbers) > 1 else ""
        cells.append(_number(name, float(np.mean(numbers))) + spread)
    return [arm, *(f"{size:,}" for size in sizes[arm]), *cells]


def _pairs_row(arm: str, measured: Mapping[str, float]) -> list[str]:
    return [
        arm,
        *(_times_100(measured[name]) if "of them" in name else f"{measured[name]:.2f}" for name in PAIR_MEASURES),
    ]


def _difference_rows(values: Mapping[ArmSeed, Values]) -> list[list[str]]:
    arms = {arm for arm, _ in values}
    rows = []
    for (better, other), what in COMPARISONS.items():
        if {better, other} <= arms:
            cells = [_difference_cells(*compare(values, better, other, metric)) for metric in ("CIDEr", "BLEU-4")]
            rows.append([what, f"{better} − {other}", *cells[0], *cells[1]])
    return rows


def _difference_cells(found: Score, by_seed: Sequence[float]) -> list[str]:
    value, low, high = (f"{100 * number:+.1f}" for number in (found.value, found.low, found.high))
    return [f"{value} ({low} to {high})", ", ".join(f"{100 * number:+.1f}" for number in by_seed)]


def _captioner_row(run: ArmSeed, values: Values) -> list[str]:
    cells = []
    for name in METRICS:
        found = with_interval(name, values[name])
        value, low, high = (_number(name, number) for number in (found.value, found.low, found.high))
        cells.append(f"{value} ({low} to {high})")
    return [run[0], str(run[1]), *cells]


def _number(name: str, value: float) -> str:
    return f"{value:.2f}" if name == "objects" else _times_100(value)


def _times_100(value: float) -> str:
    return f"{100 * value:.1f}"
