"""The command `icsd`."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from icsd.config import SpiceConfig
from icsd.core.errors import ICSDError
from icsd.stages.evaluation.comparison import HEADLINE, compare_runs
from icsd.stages.evaluation.scoring import Scoring, score_results
from icsd.stages.evaluation.spice import Spice
from icsd.views.figure import add_figure
from icsd.views.gallery import add_gallery
from icsd.views.options import add_config, positive, read_config
from icsd.views.run import run_folder
from icsd.views.status import add_status
from icsd.views.trace import add_trace

METRICS = ("BLEU", "METEOR", "ROUGE_L", "CIDEr", "SPICE")
RENAMED = {"strip": "figure"}
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status. What a user can mend is one message on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in RENAMED:
        print(f"icsd: `icsd {given[0]}` is now `icsd {RENAMED[given[0]]}`, with the same options", file=sys.stderr)
        return 1
    options = _parser().parse_args(given)
    try:
        said = options.run(options)
        for text in [said] if isinstance(said, str) else said:
            print(text, flush=True)
    except ICSDError as error:
        print(f"icsd: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # who reads has enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="icsd",
        description="Look into the results of the workflow. Run the workflow itself with snakemake.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_status(commands)
    _add_resume(commands)
    add_trace(commands)
    _add_caption(commands)
    _add_scores(commands)
    _add_compare(commands)
    add_figure(commands)
    add_gallery(commands)
    return parser


def _add_resume(commands: Commands) -> None:
    command = commands.add_parser(
        "resume",
        help="continue a run after its snakemake died",
        description="Continue a run after the snakemake that submitted its jobs died: wait for the run's jobs that are "
        "still in the queue, unlock, and run snakemake --profile slurm. Type it where the Snakefile is.",
    )
    add_config(command)
    command.add_argument("--cancel", action="store_true", help="cancel the jobs instead of waiting for them")
    command.add_argument("--profile", default="slurm", metavar="NAME", help="snakemake's (default: %(default)s)")
    command.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="more for snakemake, after a --")
    command.set_defaults(run=_resume)


def _resume(options: argparse.Namespace) -> str:
    from icsd.workflow.head import Snakemake, resume  # late: the other commands need no snakemake

    logging.basicConfig(level=logging.INFO, format="icsd: %(message)s")
    run = read_config(options.configfile, options.config).run
    given = [*(["--configfile", *map(str, options.configfile)] if options.configfile else []),
             *(["--config", *options.config] if options.config else [])]  # fmt: skip
    snakemake = Snakemake(options.profile, [*options.arguments, *given])
    sys.exit(resume(run, run_folder(run), snakemake, cancel=options.cancel))


def _add_caption(commands: Commands) -> None:
    command = commands.add_parser(
        "caption",
        help="write captions of pictures",
        description="Write a caption of each picture with an exported captioner: a line each, the file's path, a tab, "
        "the caption. A file that is no picture is named at the end, with status 1; the others have their captions.",
    )
    command.add_argument("pictures", nargs="+", type=Path, metavar="IMAGE", help="a picture's file")
    command.add_argument(
        "--model",
        type=Path,
        default=Path("results/picturebook/export/multi/captioner-seed-0"),
        metavar="FOLDER",
        help="a captioner that `snakemake export` wrote (default: %(default)s)",
    )
    command.set_defaults(run=_caption)


def _add_scores(commands: Commands) -> None:
    command = commands.add_parser(
        "scores",
        help="score a COCO results file",
        description="Score a COCO results file, such as <results>/evaluation/<arm>/seed-<n>/<test>/results.json or one "
        "of another captioner, against COCO annotations, with 95% bootstrap intervals; also by domain where the "
        "annotations' images have one.",
    )
    command.add_argument("results", type=Path, help='JSON: [{"image_id": 42, "caption": "a dog"}, …]')
    command.add_argument(
        "--annotations", type=Path, required=True, metavar="FILE", help="COCO annotation JSON with the true captions"
    )
    command.add_argument(
        "--metrics", nargs="+", choices=METRICS, default=METRICS[:-1], metavar="METRIC",
        help=f"of {', '.join(METRICS)} (default: all but SPICE)",
    )  # fmt: skip
    command.add_argument(
        "--partial",
        action="store_true",
        help="score the pictures of the file alone, be they not all of the annotations",
    )
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
    command.set_defaults(run=_scores)


def _add_compare(commands: Commands) -> None:
    command = commands.add_parser(
        "compare",
        help="set the scores of several runs side by side",
        description="Set the scores of several runs side by side: trained on one corpus, tested on another. "
        "A run's test sets are pictures.test, by its name, and pictures.more_tests.",
    )
    command.add_argument("runs", nargs="+", type=Path, metavar="FOLDER", help="a run's folder, such as results/coco")
    command.add_argument("--metric", default=HEADLINE, help="as scores.md has it (default: %(default)s)")
    command.set_defaults(run=lambda options: compare_runs(options.runs, options.metric))


def _caption(options: argparse.Namespace) -> Iterator[str]:
    from icsd.stages.captioner.predicting import PicturesWithoutCaption, caption_files  # late: torch takes seconds

    faults = []
    for path, said in caption_files(options.model, options.pictures):
        if isinstance(said, str):
            yield f"{path}\t{said}"
        else:
            faults.append(said)
    if faults:
        raise PicturesWithoutCaption(faults, len(options.pictures))


def _scores(options: argparse.Namespace) -> str:
    scoring = Scoring(options.metrics, options.samples, Spice(options.corenlp, options.java))
    return score_results(options.results, options.annotations, scoring, options.partial)


if __name__ == "__main__":
    sys.exit(main())
