"""The whole report, from what is there of a run."""

import logging
import shutil
from pathlib import Path

from icsd.report.costs import draw_costs
from icsd.report.examples import write_examples
from icsd.report.funnel import draw_funnel
from icsd.report.run import Run
from icsd.report.scores import draw_scores
from icsd.report.state import write_state
from icsd.report.style import plot_style
from icsd.report.texts import draw_similarity, draw_sizes, draw_words
from icsd.report.training import draw_training

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
