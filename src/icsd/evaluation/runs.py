"""Several runs in one table: captioners trained on different corpora, each on the test sets of all."""

from collections.abc import Sequence
from pathlib import Path

from icsd import tables
from icsd.errors import InputError
from icsd.evaluation.summary import HEADLINE, Row, mean_over_seeds
from icsd.pages import markdown_table


def compare_runs(folders: Sequence[Path], metric: str = HEADLINE) -> str:
    """Markdown: a row for each run and arm, a column for each test set; – where a run was not scored on a set.

    InputError for a run without scores, and for a metric that none of them has.
    """
    rows = {folder: _scores(folder) for folder in folders}
    every = [row for of_run in rows.values() for row in of_run]
    names = list(dict.fromkeys(row["metric"] for row in every))
    if metric not in names:
        hint = f"the metrics there are {', '.join(names)}"
        raise InputError(folders[0], f"--metric {metric}", "no run has scores by it", hint)
    tests = list(dict.fromkeys(row["test"] for row in every))
    cells = [
        [folder.name, arm, *(_cell(of_run, arm, metric, test) for test in tests)]
        for folder, of_run in rows.items()
        for arm in dict.fromkeys(row["arm"] for row in of_run)
    ]
    about = f"{metric} times 100; a row is what was trained, a column what it was tested on."
    return "\n".join([about, "", *markdown_table(["run", "arm", *tests], cells, left=2)])


def _scores(folder: Path) -> list[Row]:
    return tables.read(folder / "evaluation" / "scores.parquet", tables.SCORES).to_pylist()


def _cell(rows: Sequence[Row], arm: str, metric: str, test: str) -> str:
    known = any(row["test"] == test and row["arm"] == arm and row["metric"] == metric for row in rows)
    return mean_over_seeds(rows, arm=arm, metric=metric, test=test) if known else "–"
