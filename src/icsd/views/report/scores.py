"""The scores of the arms with their intervals: a plot and a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icsd.views.report.style import (
    ARM_STYLES,
    WIDTH,
    HtmlTable,
    entitle,
    names_on_y,
    save_figure,
    save_notice,
    save_page,
)
from icsd.views.run import Run

Row = Mapping[str, Any]
TITLE = "Scores of the arms on real test pictures"
COLUMNS = 4  # of panels
SPREAD = 0.5  # of a row's height, over which an arm's seeds lie
NOTICE = "No captioner has been scored yet: the jobs score_captions are still to come."


def draw_scores(run: Run, length: str, plot: Path, page: Path) -> None:
    """Write the plot and the page of all scores that are there; `length` describes the length of a training."""
    rows = _in_order(run, run.scores.rows().to_pylist())
    missing = NOTICE if not rows else _missing(run)
    save_page(page, TITLE, [_about(length), missing], [_table(run, test, rows) for test in _all(rows, "test")])
    if not rows:
        save_notice(plot, TITLE, NOTICE)
        return
    figure = _figure(run, rows)
    entitle(figure, TITLE, missing)
    save_figure(plot, figure, TITLE, "; ".join(_described(row) for row in rows))


def _in_order(run: Run, rows: Sequence[Row]) -> list[Row]:
    """The rows by test set, each followed by its domains, and by arm, both in the order of the config."""

    def order(row: Row) -> tuple[int, str, int, int]:
        return run.tests.index(row["test"].partition("/")[0]), row["test"], run.arms.index(row["arm"]), row["seed"]

    return sorted(rows, key=order)


def _missing(run: Run) -> str:
    missing = len(run.scores.missing)
    return f"missing: {missing:,} of {len(run.scores.paths):,}" if missing else ""


def _about(length: str) -> str:
    return (
        "Times 100, with 95% bootstrap intervals over the test pictures in brackets; more is better. Every arm is "
        f"trained for {length}, its checkpoint chosen on other pictures."
    )


def _described(row: Row) -> str:
    return f"{row['arm']}, seed {row['seed']}, {row['test']}, {row['metric']}: {_interval(row)}"


def _interval(row: Row) -> str:
    return f"{100 * row['value']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


def _table(run: Run, test: str, rows: Sequence[Row]) -> HtmlTable:
    found = {(row["arm"], row["seed"], row["metric"]): row for row in rows if row["test"] == test}
    metrics = list(dict.fromkeys(metric for _, _, metric in found))
    captioners = dict.fromkeys((arm, seed) for arm, seed, _ in found)
    cells = [
        [arm, *_counts(run, arm), str(seed), *(_cell(found.get((arm, seed, metric))) for metric in metrics)]
        for arm, seed in captioners
    ]
    return HtmlTable(f"Test set {test}", ["arm", "pictures", "pairs", "seed", *metrics], cells)


def _cell(row: Row | None) -> str:
    return "–" if row is None else _interval(row)


def _counts(run: Run, arm: str) -> list[str]:
    ids = run.pairs(arm).rows(["image_id"])["image_id"]
    return [f"{len(ids.unique()):,}", f"{len(ids):,}"]


# --- The plot ---------------------------------------------------------------------------------------------------------


def _figure(run: Run, rows: Sequence[Row]) -> Figure:
    """A panel for each metric; each test set has its own rows of panels."""
    panels = list(dict.fromkeys((row["test"], row["metric"]) for row in rows))
    tests, metrics = _all(rows, "test"), max(sum(test == each for each, _ in panels) for test in _all(rows, "test"))
    lines = -(-metrics // COLUMNS)
    height = 0.75 + 0.26 * len(run.arms) + (0.15 if len(tests) > 1 else 0.0)
    figure = Figure(figsize=(WIDTH, 0.5 + len(tests) * lines * height), layout="constrained")
    grid = figure.subplots(len(tests) * lines, COLUMNS, squeeze=False, sharey=True)
    for number, test in enumerate(tests):
        axes = grid[number * lines : (number + 1) * lines].flatten()
        of_test = [metric for each, metric in panels if each == test]
        for panel, metric in zip(axes, of_test, strict=False):
            name = metric if len(tests) == 1 else f"{test}\n{metric}"
            _panel(panel, run, name, [row for row in rows if (row["test"], row["metric"]) == (test, metric)])
        for unused in axes[len(of_test) :]:
            unused.set_visible(False)
    return figure


def _panel(axes: Axes, run: Run, name: str, rows: Sequence[Row]) -> None:
    seeds = run.seeds
    for row in rows:
        style = ARM_STYLES[row["arm"]]
        step = SPREAD / max(1, len(seeds) - 1)
        offset = step * seeds.index(row["seed"]) - SPREAD / 2 if len(seeds) > 1 else 0.0
        value, low, high = (100 * row[key] for key in ("value", "low", "high"))
        axes.errorbar(
            value, run.arms.index(row["arm"]) + offset, xerr=[[value - low], [high - value]], fmt=style.marker,
            color=style.color, markersize=6 if len(seeds) == 1 else 4, capsize=3, linewidth=1.4,
        )  # fmt: skip
    axes.set_title(name)
    axes.set_yticks(range(len(run.arms)), run.arms)
    axes.set_ylim(len(run.arms) - 0.4, -0.6)
    axes.set_xlabel("score × 100")
    names_on_y(axes)


def _all(rows: Sequence[Row], column: str) -> list[str]:
    return list(dict.fromkeys(row[column] for row in rows))
