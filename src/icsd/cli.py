"""The command `icsd`."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from icsd.config import SpiceConfig
from icsd.core.errors import ICSDError
from icsd.core.files import atomic_path
from icsd.stages.evaluation.scoring import Scoring, score_results
from icsd.stages.evaluation.spice import Spice
from icsd.stages.evaluation.summary import HEADLINE, compare_runs
from icsd.views.commands import add_resume, add_status
from icsd.views.figure import alternative_text, draw_strip, read_strip
from icsd.views.gallery import found_run, write_gallery
from icsd.views.trace import describe, describe_all

METRICS = ("BLEU", "METEOR", "ROUGE_L", "CIDEr", "SPICE")
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status. What a user can mend is one message on stderr."""
    options = _parser().parse_args(arguments)
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
    add_resume(commands)
    _add_trace(commands)
    _add_caption(commands)
    _add_scores(commands)
    _add_compare(commands)
    _add_strip(commands)
    _add_gallery(commands)
    return parser


def _add_trace(commands: Commands) -> None:
    command = commands.add_parser(
        "trace",
        help="show where an image comes from, and what became of a caption or group",
        description="Show where an image comes from (its sentence, captions, prompt, model, seed, verdict) and what "
        "became of it; what a group is made of and what was made of it; what became of a caption.",
        epilog="An image's id is its arm and the id of its group or caption: multi-12, single-407, "
        "single_matched-407, real-33. group-12 is the group that caption 12 heads, caption-12 the caption, "
        "12 alone both. Without an id, the arms are shown with some of their images.",
    )
    command.add_argument("id", nargs="?", help="such as multi-12, group-12 or caption-12")
    command.add_argument("--json", action="store_true", help="as JSON")
    _add_results(command)
    command.set_defaults(run=_trace)


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
        "--samples", type=_count, default=1000, metavar="N", help="resamples for the intervals (default: %(default)s)"
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


def _add_strip(commands: Commands) -> None:
    command = commands.add_parser(
        "strip",
        help="draw a group's captions, sentence and pictures as one strip",
        description="Draw a strip that shows the method on one group: its first captions with the pictures drawn from "
        "each alone, by the arms single_matched or single, beside the one picture drawn from their sentence. Prints "
        "what it shows, for the picture's alternative text.",
    )
    command.add_argument(
        "--group",
        type=int,
        required=True,
        metavar="ID",
        help="the group's id: the number in an image's id, 12 of multi-12",
    )
    command.add_argument(
        "--output", type=Path, default=Path("strip.png"), metavar="FILE", help="PNG file (default: %(default)s)"
    )
    _add_results(command)
    command.set_defaults(run=_strip)


def _add_gallery(commands: Commands) -> None:
    command = commands.add_parser(
        "gallery",
        help="make a run's pictures a page",
        description="Make the pictures of a run, be it half done, a page that opens from disk. "
        "A finished run has one in its folder gallery/ already.",
    )
    _add_results(command)
    command.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="a folder for it, replaced where it holds one (default: gallery/ in the run's)",
    )
    command.add_argument(
        "--pictures", type=_count, default=2000, metavar="N", help="of each arm, at most (default: %(default)s)"
    )
    command.set_defaults(run=_gallery)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number of at least 1")
    return int(text)


def _add_results(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--results",
        type=Path,
        default=Path("results/picturebook"),
        metavar="FOLDER",
        help="a run's folder (default: %(default)s)",
    )


def _trace(options: argparse.Namespace) -> str:
    if options.id is None:
        return describe_all(options.results, json=options.json)
    return describe(options.results, options.id, json=options.json)


def _strip(options: argparse.Namespace) -> str:
    strip = read_strip(options.results, options.group)
    with atomic_path(options.output) as unfinished:
        draw_strip(strip).save(unfinished, format="PNG")
    return alternative_text(strip)


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


def _gallery(options: argparse.Namespace) -> str:
    folder = options.output or options.results / "gallery"
    missing = write_gallery(found_run(options.results), folder, options.pictures)
    return "\n".join([f"{folder / 'index.html'}", *(f"not there yet: {line}" for line in missing)])


def _scores(options: argparse.Namespace) -> str:
    scoring = Scoring(options.metrics, options.samples, Spice(options.corenlp, options.java))
    return score_results(options.results, options.annotations, scoring, options.partial)


if __name__ == "__main__":
    sys.exit(main())
