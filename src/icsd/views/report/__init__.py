"""Report: plots and pages of a run's results, made from its tables as far as they are there.

style     the look of plots and pages, and how they become files
scores, training, funnel, alignment, texts, groups, costs     one kind of result each
scored_pairs     the pairs and sentences that `alignment` shows
"""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from icsd.config import Config
from icsd.views.report.alignment import draw_alignment
from icsd.views.report.costs import draw_costs
from icsd.views.report.funnel import draw_funnel
from icsd.views.report.groups import group_tables
from icsd.views.report.scores import draw_scores
from icsd.views.report.style import HtmlTable, plot_style, save_page
from icsd.views.report.texts import draw_similarity, draw_sizes, draw_words, write_examples
from icsd.views.report.training import draw_training
from icsd.views.run import Run, configured_run
from icsd.views.run_table import RunTable

__all__ = ["draw_report"]

TITLE = "Tables that are there and tables that are missing"
SHEETS = 3  # contact sheets of an arm: a thousand shards would be a page of gigabytes
NAMED = 3  # missing files
WHOLE = "Everything that this report is made of is there."
HALF = (
    "The run is not finished, or its config or inputs have changed since. Plots and tables show what is there. "
    "`snakemake` continues the run; `snakemake --dry-run` lists its jobs."
)
_log = logging.getLogger(__name__)


def draw_report(config: Config, prompt: Path, results: Path, folder: Path, finished: bool) -> None:
    """Write every plot and page of the report on the run in `results` into `folder`, and log what is missing."""
    run = configured_run(config, results)
    folder.mkdir(parents=True, exist_ok=True)
    with plot_style():
        draw_scores(run, config.captioner.length, folder / "scores.svg", folder / "scores.html")
        draw_training(run, folder / "training.svg")
        draw_funnel(run, folder / "funnel.svg", folder / "funnel.html")
        if run.aligned:
            names = ("alignment.svg", "alignment.html", "alignment_pairs.png")
            draw_alignment(run, config.alignment, *(folder / name for name in names))
        draw_sizes(run, folder / "sizes.svg")
        draw_words(run, folder / "words.svg")
        draw_similarity(run, folder / "similarity.svg")
        draw_costs(run, config, prompt, folder / "costs.svg", folder / "costs.html")
    write_examples(run, group_tables(run, config.groups), folder / "examples.html")
    _copy_sheets(run, folder / "sheets")
    for table in _write_state(run, folder / "state.html", finished):
        _log.warning("missing: %s of %s files of %s", f"{len(table.missing):,}", f"{len(table.paths):,}", table.title)


def _copy_sheets(run: Run, folder: Path) -> None:
    """Copy the contact sheets of each arm's first shards, under the names that the rule's labels are read from."""
    folder.mkdir(exist_ok=True)
    for arm in run.drawn:
        for shard in run.shards[:SHEETS]:
            sheet = run.contact_sheet(arm, shard)
            if sheet.exists():
                shutil.copyfile(sheet, folder / f"{arm}.{shard}.png")


def _write_state(run: Run, page: Path, finished: bool) -> list[RunTable]:
    """Write the page on the state of all tables; return those of which files are missing."""
    found = list(_tables_shown(run))
    halves = [table for table in found if table.missing]
    shown = HtmlTable(
        "Tables of the run",
        ["stage", "tables", "there", "of", "missing"],
        [_row(run, table) for table in found],
        left=2,
        texts=["missing"],
    )
    save_page(page, TITLE, [WHOLE if finished and not halves else HALF], [shown])
    return halves


def _tables_shown(run: Run) -> Iterator[RunTable]:
    """Yield all tables that the report is made of, in the order of the stages."""
    yield run.captions
    if run.guarded:
        yield run.guard
    if run.drawn:
        yield from (run.groups, run.group_times)
    if run.summarized:
        yield run.summaries
    for arm in run.drawn:
        yield from (run.images(arm), run.safety(arm))
        if run.aligned:
            yield run.alignment(arm)
    for arm in run.arms:
        yield from (run.ledger(arm), run.pairs(arm))
    yield from (run.history(arm, seed) for arm, seed in run.captioners)
    yield run.scores


def _row(run: Run, table: RunTable) -> list[str]:
    names = [str(path.relative_to(run.folder)) for path in table.missing]
    more = [f"and {len(names) - NAMED:,} more"] if len(names) > NAMED else []
    stage, missing = table.name.partition("/")[0], "\n".join([*names[:NAMED], *more])
    return [stage, table.title, f"{len(table.there):,}", f"{len(table.paths):,}", missing]
