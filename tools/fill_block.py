"""Fill the blocks of pages that a program writes, between <!-- name:begin --> and <!-- name:end -->."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from icsd.core.errors import ICSDError, InputError
from icsd.core.files import atomic_path


def update_block(page: Path, name: str, text: str) -> None:
    """Put `text`, without its title, between the marks of the block `name`.

    InputError unless each mark is there once. The rest of the page stays as it is.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, first, rest = page.read_text(encoding="utf-8").partition(begin)
    _, second, after = rest.partition(end)
    if not (first and second) or begin in rest or end in before + after:
        raise InputError(
            page, "", f"does not have one block {begin} … {end}", "put the two marks where the text is to go"
        )
    with atomic_path(page) as unfinished:
        unfinished.write_text(f"{before}{begin}\n{_untitled(text)}\n{end}{after}", encoding="utf-8")


def _untitled(text: str) -> str:
    lines = text.strip().splitlines()
    return "\n".join(lines[1:] if lines and lines[0].startswith("# ") else lines).strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Put what comes in on stdin into a page's block; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fill_block", description="Put stdin into a marked block of a page."
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("name", help="the block's: <!-- NAME:begin --> … <!-- NAME:end -->")
    parser.add_argument("--fence", metavar="LANGUAGE", help="put it there as code of that language")
    options = parser.parse_args(arguments)
    text = sys.stdin.read()
    try:
        update_block(options.page, options.name, f"```{options.fence}\n{text.strip()}\n```" if options.fence else text)
    except ICSDError as error:
        print(f"fill_block: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
