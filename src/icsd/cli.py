"""The command `icsd`: its subcommands, its exit status, and errors as messages."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from icsd.core.errors import ICSDError
from icsd.core.logs import INTERRUPTED
from icsd.core.text import one_line, printable
from icsd.views.clean import add_clean
from icsd.views.export import add_caption
from icsd.views.figure import add_figure
from icsd.views.gallery import add_gallery
from icsd.views.options import Commands, add_config, read_config
from icsd.views.preview import add_preview
from icsd.views.run import run_folder
from icsd.views.scores import add_compare, add_scores
from icsd.views.status import add_status
from icsd.views.trace import add_trace

RENAMED = {"strip": "figure"}
# what people type for a target of the workflow
TARGETS = {
    "estimate": "snakemake estimate",
    "export": "snakemake export",
    "downloads": "snakemake downloads",
    "report": "make report",
    "run": "snakemake",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit status. An error that a user can fix is one message on stderr, status 1."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given:
        parser().print_help(sys.stderr)
        return 2
    if given[0] in RENAMED:
        print(f"icsd: `icsd {given[0]}` is now `icsd {RENAMED[given[0]]}`, with the same options", file=sys.stderr)
        return 1
    if given[0] in TARGETS:
        print(f"icsd: {given[0]} is no command of icsd: type `{TARGETS[given[0]]}`", file=sys.stderr)
        return 2
    options = _parsed(given)
    try:
        output = options.run(options)  # a text, or texts as they come
        for text in [output] if isinstance(output, str) else output:
            print(printable(text), flush=True)
    except ICSDError as error:
        # further lines are indented, so that a line end in a text from outside forges no message
        first, *others = printable(str(error)).splitlines() or [""]
        print(
            f"icsd: {first}",
            *(line if line.startswith(" ") else f"  {line}" for line in others),
            sep="\n",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("icsd: interrupted: what was written is kept; type the command again to continue", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has closed the pipe, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a file that cannot be read or written
        if error.filename is None:
            raise
        print(f"icsd: {printable(one_line(str(error.filename)))}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _parsed(given: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; of a file of YAML without an option the message names the option."""
    commands = parser()
    options, unknown = commands.parse_known_args(given)
    if unknown:
        overlays = [name for name in unknown if name.endswith((".yaml", ".yml"))]
        hint = f" (for a config overlay type --configfile {overlays[0]})" if overlays else ""
        commands.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return options


def parser() -> argparse.ArgumentParser:
    """The parser with all subcommands; each sets `run`, the function that gets the parsed options."""
    whole = argparse.ArgumentParser(
        prog="icsd",
        description="Look into the results of the workflow. Run the workflow itself with snakemake.",
    )
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_status(commands)
    _add_resume(commands)
    add_preview(commands)
    add_trace(commands)
    add_caption(commands)
    add_scores(commands)
    add_compare(commands)
    add_figure(commands)
    add_gallery(commands)
    add_clean(commands)
    _add_convert(commands)
    return whole


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


def _add_convert(commands: Commands) -> None:
    command = commands.add_parser(
        "convert",
        help="write a text encoder's pickled weights as safetensors",
        description="Write a text encoder of transformers as safetensors, the only form that the workflow loads, where "
        "its authors published a pickle. Only tensors are read of the pickle.",
    )
    command.add_argument("model", metavar="MODEL", help="a folder, or an id of the hub, which is downloaded")
    command.add_argument("output", metavar="FOLDER", type=Path, help="a new folder, for embeddings.model")
    command.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> str:
    from icsd.models.conversion import convert_model  # late: it imports torch

    return convert_model(options.model, options.output)


if __name__ == "__main__":
    sys.exit(main())
