"""Show scores side by side: the arms, seeds and test sets of a run, and several runs on each other's test sets."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from icsd.core import files, tables
from icsd.core.ids import real_image_id
from icsd.core.metrics import read_domains
from icsd.core.text import markdown_table
from icsd.stages.evaluation.scoring import sets_of

Row = Mapping[str, Any]
Sizes = Mapping[str, tuple[int, int]]
HEADLINE = "CIDEr"  # the metric by which test sets are compared


def collect_scores(
    scores: Sequence[str], pairs: Mapping[str, str], tests: Mapping[str, tuple[str, str]], table: str, page: str,
    length: str,
) -> None:  # fmt: skip
    """Write the SCORES of all arms as one table and as a Markdown page.

    `scores` lists the tables in the order to show. `pairs` maps each arm to its training pairs, `tests` maps each test
    set to its captions and domains.
    """
    rows = tables.concat(scores, tables.SCORES).to_pylist()
    tables.write(table, tables.SCORES, rows)
    trained_on = {arm: training_size(path) for arm, path in pairs.items()}
    sets = {name: size for test, paths in tests.items() for name, size in set_sizes(test, *paths).items()}
    with files.atomic_path(page) as unfinished:
        unfinished.write_text(scores_page(rows, trained_on, sets, length), encoding="utf-8")


def scores_page(rows: Sequence[Row], trained_on: Sizes, sets: Sizes, length: str) -> str:
    """Return a Markdown page: for each test set a row per arm and seed with intervals, and the means over seeds.

    `trained_on` counts each arm's pictures and pairs, `sets` each test set's pictures and captions. Several test sets
    have a section each, after a table that shows them side by side.
    """
    if len(sets) == 1:
        (size,) = sets.values()
        lines = [
            _introduction(f"{size[0]:,} pictures with {size[1]:,} captions", length),
            "",
            *_tables(rows, trained_on),
        ]
    else:
        lines = [_introduction("the pictures of each test set", length), "", *_side_by_side(rows, trained_on, sets)]
        for name, (pictures, captions) in sets.items():
            heading = ["", f"## {name}", "", f"{pictures:,} pictures with {captions:,} captions.", ""]
            lines += [*heading, *_tables([row for row in rows if row["test"] == name], trained_on)]
    return "\n".join(["# Scores on the real test pictures", "", *lines, ""])


def training_size(path: str) -> tuple[int, int]:
    """Count the pictures and the pairs that an arm was trained on."""
    pairs = tables.read(path, tables.PAIRS, columns=["image_id"])
    return len(pairs["image_id"].unique()), len(pairs)


def set_sizes(test: str, captions: str, domains: str) -> dict[str, tuple[int, int]]:
    """Count the pictures and captions of a test set and of each of its domains, by their names in SCORES."""
    of_pictures = Counter(tables.read(captions, tables.CAPTIONS, columns=["image_id"])["image_id"].to_pylist())
    captions_of = {real_image_id(image_id): count for image_id, count in of_pictures.items()}
    ids = list(captions_of)
    sets = sets_of(test, ids, read_domains(domains))
    return {name: (len(rows), sum(captions_of[ids[row]] for row in rows)) for name, rows in sets.items()}


def mean_over_seeds(rows: Sequence[Row], **of: str) -> str:
    """Return 100 times the mean over seeds of the rows that have these values, ± their standard deviation."""
    values = [100 * row["value"] for row in rows if all(row[column] == value for column, value in of.items())]
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def _introduction(pictures: str, length: str) -> str:
    return (
        f"Times 100, with 95% bootstrap intervals over {pictures}; "
        f"every arm trained for {length}, its checkpoint chosen on other pictures."
    )


def _tables(rows: Sequence[Row], trained_on: Sizes) -> list[str]:
    """Return the tables of one test set: each run, and the means over seeds."""
    names, arms = _all(rows, "metric"), _all(rows, "arm")
    runs = dict.fromkeys((row["arm"], row["seed"]) for row in rows)
    by_run = {(row["arm"], row["seed"], row["metric"]): row for row in rows}
    cells = [
        [arm, *_counts(trained_on[arm]), str(seed), *(_interval(by_run[arm, seed, name]) for name in names)]
        for arm, seed in runs
    ]
    lines = markdown_table(["arm", "pictures", "pairs", "seed", *names], cells)
    seeds = _all(rows, "seed")
    if len(seeds) == 1:
        return lines
    means = [[arm, *(mean_over_seeds(rows, arm=arm, metric=name) for name in names)] for arm in arms]
    heading = f"Means over {len(seeds)} seeds, with the standard deviation between them:"
    return [*lines, "", heading, "", *markdown_table(["arm", *names], means)]


def _side_by_side(rows: Sequence[Row], trained_on: Sizes, sets: Sizes) -> list[str]:
    """Return the table of one metric: a row per arm, a column per test set."""
    names = _all(rows, "metric")
    metric = HEADLINE if HEADLINE in names else names[0]
    cells = [
        [arm, *_counts(trained_on[arm]), *(mean_over_seeds(rows, arm=arm, metric=metric, test=name) for name in sets)]
        for arm in _all(rows, "arm")
    ]
    means = ", means over seeds with the standard deviation between them" if len(_all(rows, "seed")) > 1 else ""
    about = (
        f"{metric} on every test set{means}. A set's domains, such as nocaps/in-domain, are scored as sets of their "
        "own, CIDEr with the document frequencies of their own captions:"
    )
    return [about, "", *markdown_table(["arm", "pictures", "pairs", *sets], cells)]


def _all(rows: Sequence[Row], column: str) -> list[Any]:
    """Return the different values of a column, in the order of the rows."""
    return list(dict.fromkeys(row[column] for row in rows))


def _counts(size: tuple[int, int]) -> list[str]:
    return [f"{count:,}" for count in size]


def _interval(row: Row) -> str:
    return f"{100 * row['value']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
