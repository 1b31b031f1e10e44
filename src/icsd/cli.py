"""The command `icsd`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from icsd.errors import ICSDError
from icsd.trace import describe, overview, trace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status. What a user can mend is one message on stderr."""
    options = _parser().parse_args(arguments)
    try:
        print(options.run(options))
    except ICSDError as error:
        print(f"icsd: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="icsd",
        description="Look into the results of the workflow. Run the workflow itself with snakemake.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "trace",
        help="show where an image comes from",
        description="Show where an image comes from: its sentence, captions, prompt, model, seed, verdict, "
        "and the datasets that it is in.",
        epilog="An image's id is its arm and the id of its group or caption: multi-12, single-407, "
        "single_matched-407, real-33. Without one, the arms are shown with some of their ids.",
    )
    command.add_argument("image_id", nargs="?", help="such as multi-12")
    command.add_argument(
        "--results",
        type=Path,
        default=Path("results/picturebook"),
        metavar="FOLDER",
        help="a run's folder (default: %(default)s)",
    )
    command.set_defaults(run=_trace)
    return parser


def _trace(options: argparse.Namespace) -> str:
    if options.image_id is None:
        return overview(options.results)
    return describe(trace(options.results, options.image_id))


if __name__ == "__main__":
    sys.exit(main())
