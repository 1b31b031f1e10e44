"""The table of all arms' scores, for machines and for people."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import mean, stdev
from typing import Any

from icsd import files, tables
from icsd.pages import markdown_table

Row = Mapping[str, Any]


def collect_scores(
    scores: Sequence[str], pairs: Mapping[str, str], captions: str, table: str, page: str, steps: int
) -> None:
    """Write the SCORES of all arms as one table, and as a page that people read.

    `scores` in the order to show, `pairs` the tables of each arm's training pairs, `captions` the test's.
    """
    rows = tables.concat(scores, tables.SCORES).to_pylist()
    tables.write(table, tables.SCORES, rows)
    sizes = {arm: training_size(path) for arm, path in pairs.items()}
    test = tables.read(captions, tables.CAPTIONS, columns=["image_id"])
    pictures = len(test["image_id"].unique())
    with files.atomic_path(page) as unfinished:
        unfinished.write_text(scores_page(rows, sizes, pictures, len(test), steps), encoding="utf-8")


def scores_page(
    rows: Sequence[Row], sizes: Mapping[str, tuple[int, int]], pictures: int, captions: int, steps: int
) -> str:
    """Markdown: a row for each arm and seed with intervals, and the means where there are several seeds."""
    names = list(dict.fromkeys(row["metric"] for row in rows))
    seeds = sorted({row["seed"] for row in rows})
    lines = [
        "# Scores on the real test pictures",
        "",
        f"Times 100, with 95% bootstrap intervals over {pictures:,} pictures with {captions:,} captions; "
        f"every arm trained for {steps:,} steps, its checkpoint chosen on other pictures.",
        "",
        *markdown_table(["arm", "pictures", "pairs", "seed", *names], [_run(run, sizes, names) for run in _runs(rows)]),
    ]
    if len(seeds) > 1:
        arms = dict.fromkeys(row["arm"] for row in rows)
        means = [[arm, *(_mean(rows, arm, name) for name in names)] for arm in arms]
        heading = f"Means over {len(seeds)} seeds, with the standard deviation between them:"
        lines += ["", heading, "", *markdown_table(["arm", *names], means)]
    return "\n".join([*lines, ""])


def training_size(path: str) -> tuple[int, int]:
    """How many pictures and how many pairs an arm was trained on."""
    pairs = tables.read(path, tables.PAIRS, columns=["image_id"])
    return len(pairs["image_id"].unique()), len(pairs)


def _runs(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each arm and seed, which stand together."""
    return [list(run) for _, run in groupby(rows, key=lambda row: (row["arm"], row["seed"]))]


def _run(run: Sequence[Row], sizes: Mapping[str, tuple[int, int]], names: Sequence[str]) -> list[str]:
    by_name = {row["metric"]: row for row in run}
    pictures, pairs = sizes[run[0]["arm"]]
    return [
        run[0]["arm"],
        f"{pictures:,}",
        f"{pairs:,}",
        str(run[0]["seed"]),
        *(_interval(by_name[name]) for name in names),
    ]


def _interval(row: Row) -> str:
    return f"{100 * row['value']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


def _mean(rows: Sequence[Row], arm: str, name: str) -> str:
    values = [100 * row["value"] for row in rows if row["arm"] == arm and row["metric"] == name]
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
