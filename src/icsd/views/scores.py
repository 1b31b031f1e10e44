"""Scores: of a COCO results file, and of several runs side by side."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icsd.config import SpiceConfig
from icsd.config.evaluation import ENGLISH_METRICS
from icsd.core import tables
from icsd.core.errors import ConfigError, InputError
from icsd.core.languages import CODES, ENGLISH
from icsd.core.text import markdown_table
from icsd.stages.evaluation.comparison import HEADLINE, mean_over_seeds
from icsd.stages.evaluation.scoring import Scoring, score_results
from icsd.stages.evaluation.spice import Spice
from icsd.views.options import Commands, positive
from icsd.views.run import Run, run_folder

METRICS = ("BLEU", "METEOR", "ROUGE_L", "CIDEr", "SPICE", "chrF")
DEFAULT = METRICS[:4]
Row = Mapping[str, Any]


def add_scores(commands: Commands) -> None:
    """Add `icsd scores`."""
    command = commands.add_parser(
        "scores",
        help="score a COCO results file",
        description="Score a COCO results file against COCO annotations, with 95% bootstrap intervals; also by domain, "
        "if the images of the annotations have one. The file is the results.json of a captioner and test set, in a "
        "run's folder evaluation, or comes from another captioner.",
    )
    command.add_argument("results", type=Path, help='JSON: [{"image_id": 42, "caption": "a dog"}, …]')
    command.add_argument(
        "--annotations", type=Path, required=True, metavar="FILE", help="COCO annotation JSON with the references"
    )
    command.add_argument(
        "--metrics", nargs="+", choices=METRICS, metavar="METRIC",
        default=list(DEFAULT),
        help=f"of {', '.join(METRICS)} (default: {', '.join(DEFAULT)}); METEOR and SPICE are of English alone",
    )  # fmt: skip
    command.add_argument("--partial", action="store_true", help="accept a file without some of the annotations' images")
    command.add_argument(
        "--samples", type=positive, default=1000, metavar="N", help="resamples for the intervals (default: %(default)s)"
    )
    defaults = SpiceConfig()
    command.add_argument(
        "--corenlp", default=defaults.corenlp, metavar="FOLDER", help="CoreNLP's jars for SPICE (default: %(default)s)"
    )
    command.add_argument(
        "--java", default=defaults.java, metavar="PROGRAM", help="Java 8 to 14 for SPICE (default: %(default)s)"
    )
    command.add_argument(
        "--language", choices=sorted(CODES), default=ENGLISH, metavar="CODE",
        help="of the captions, in two letters (default: %(default)s)",
    )  # fmt: skip
    command.set_defaults(run=_score)


def _score(options: argparse.Namespace) -> str:
    english = [name for name in options.metrics if name in ENGLISH_METRICS]
    if options.language != ENGLISH and english:
        named = f"--language {options.language}: {' and '.join(english)} in --metrics, for English alone"
        raise ConfigError(f"{named}; give --metrics BLEU ROUGE_L CIDEr chrF")
    spice = Spice(options.corenlp, options.java)
    scoring = Scoring(options.metrics, options.samples, spice, language=options.language)
    return score_results(options.results, options.annotations, scoring, options.partial)


def add_compare(commands: Commands) -> None:
    """Add `icsd compare`."""
    command = commands.add_parser(
        "compare",
        help="compare the scores of several runs",
        description="Compare the scores of several runs: captioners trained on one corpus, tested on another. A run's "
        "test sets are pictures.test, by its name, and pictures.more_tests.",
    )
    command.add_argument(
        "runs", nargs="+", type=Path, metavar="FOLDER", help=f"a run's folder, such as {run_folder('coco')}"
    )
    command.add_argument("--metric", default=HEADLINE, help="a name in scores.md (default: %(default)s)")
    command.set_defaults(run=lambda options: compare_runs(options.runs, options.metric))


def compare_runs(folders: Sequence[Path], metric: str = HEADLINE) -> str:
    """Return a Markdown table: a row per run and arm, a column per test set, – where there is no score.

    InputError if a run has no scores, or if no run has the metric.
    """
    rows = {folder: _scores(folder) for folder in folders}
    every = [row for of_run in rows.values() for row in of_run]
    names = list(dict.fromkeys(row["metric"] for row in every))
    if metric not in names:
        hint = f"the metrics there are {', '.join(names)}"
        raise InputError(folders[0], f"--metric {metric}", "no run has this metric", hint)
    tests = list(dict.fromkeys(row["test"] for row in every))
    cells = [
        [folder.name, arm, *(_cell(of_run, arm, metric, test) for test in tests)]
        for folder, of_run in rows.items()
        for arm in dict.fromkeys(row["arm"] for row in of_run)
    ]
    about = f"{metric} times 100. A row is a captioner by the run that trained it, a column a test set."
    return "\n".join([about, "", *markdown_table(["run", "arm", *tests], cells, left=2)])


def _scores(folder: Path) -> list[Row]:
    (path,) = Run(folder).collected_scores.paths
    return tables.read(path, tables.SCORES).to_pylist()


def _cell(rows: Sequence[Row], arm: str, metric: str, test: str) -> str:
    known = any(row["test"] == test and row["arm"] == arm and row["metric"] == metric for row in rows)
    return mean_over_seeds(rows, arm=arm, metric=metric, test=test) if known else "–"
