"""Replace a marked block of a Markdown page, between <!-- name:begin --> and <!-- name:end -->."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from icsd.core.errors import ICSDError, InputError
from icsd.core.files import atomic_path


def update_block(page: Path, name: str, text: str) -> None:
    """Replace the block `name` by `text` without its title; InputError unless the page has each mark once."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, first, rest = page.read_text(encoding="utf-8").partition(begin)
    _, second, after = rest.partition(end)
    if not (first and second) or begin in rest or end in before + after:
        raise InputError(
            page, "", f"does not have one block {begin} … {end}", "add the two marks where the text belongs"
        )
    with atomic_path(page) as unfinished:
        unfinished.write_text(f"{before}{begin}\n{_untitled(text)}\n{end}{after}", encoding="utf-8")


def _untitled(text: str) -> str:
    lines = text.strip().splitlines()
    return "\n".join(lines[1:] if lines and lines[0].startswith("# ") else lines).strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Replace a block of a page by stdin and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fill_block", description="Replace a marked block of a page by stdin."
    )
    parser.add_argument("page", type=Path, help="the Markdown file")
    parser.add_argument("name", help="the name of the block <!-- NAME:begin --> … <!-- NAME:end -->")
    parser.add_argument("--fence", metavar="LANGUAGE", help="fence the text as code of this language")
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
