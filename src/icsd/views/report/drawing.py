"""The whole report, from what is there of a run."""

import logging
import shutil
from pathlib import Path

from icsd.views.report.costs import draw_costs
from icsd.views.report.examples import write_examples
from icsd.views.report.funnel import draw_funnel
from icsd.views.report.page import HtmlTable, save_page
from icsd.views.report.run import Expected, Run
from icsd.views.report.scores import draw_scores
from icsd.views.report.style import plot_style
from icsd.views.report.texts import draw_similarity, draw_sizes, draw_words
from icsd.views.report.training import draw_training

TITLE = "What is there, and what is missing"
NAMED = 3  # missing files
WHOLE = "Everything that this report is made of is there."
HALF = (
    "The run is not finished, or its config or inputs have changed since: plots and tables are made of what is there. "
    "`snakemake` goes on where it stopped; `snakemake --dry-run` says what it would do."
)


def write_state(run: Run, page: Path, finished: bool) -> list[Expected]:
    """Write the page; what is not whole."""
    expected = run.all()
    halves = [each for each in expected if each.missing]
    table = HtmlTable(
        "Tables of the run",
        ["stage", "tables", "there", "of", "missing"],
        [_row(run, each) for each in expected],
        left=2,
        texts=["missing"],
    )
    save_page(page, TITLE, [WHOLE if finished and not halves else HALF], [table])
    return halves


def _row(run: Run, each: Expected) -> list[str]:
    names = [str(path.relative_to(run.path)) for path in each.missing]
    more = [f"and {len(names) - NAMED:,} more"] if len(names) > NAMED else []
    missing = "\n".join([*names[:NAMED], *more])
    return [each.stage, each.what, f"{len(each.there):,}", f"{len(each.paths):,}", missing]


SHEETS = 3  # contact sheets of an arm: a thousand shards would be a page of gigabytes
_log = logging.getLogger(__name__)


def draw_report(run: Run, prompt: Path, folder: Path, finished: bool) -> None:
    """Write every plot and page of the report into `folder`; what is missing is said in them, and in the log."""
    folder.mkdir(parents=True, exist_ok=True)
    with plot_style():
        draw_scores(run, folder / "scores.svg", folder / "scores.html")
        draw_training(run, folder / "training.svg")
        draw_funnel(run, folder / "funnel.svg", folder / "funnel.html")
        draw_sizes(run, folder / "sizes.svg")
        draw_words(run, folder / "words.svg")
        draw_similarity(run, folder / "similarity.svg")
        draw_costs(run, prompt, folder / "costs.svg", folder / "costs.html")
    write_examples(run, folder / "examples.html")
    _copy_sheets(run, folder / "sheets")
    for half in write_state(run, folder / "state.html", finished):
        _log.warning("missing: %s of %s files of %s", f"{len(half.missing):,}", f"{len(half.paths):,}", half.what)


def _copy_sheets(run: Run, folder: Path) -> None:
    """The contact sheets of each arm's first shards, under the names that the report's labels are read from."""
    folder.mkdir(exist_ok=True)
    for arm in run.drawn:
        for shard in run.config.shard_names[:SHEETS]:
            sheet = run.path / "images" / arm / f"{shard}.png"
            if sheet.exists():
                shutil.copyfile(sheet, folder / f"{arm}.{shard}.png")
