"""A preview on the terminal: captions on the left, each prompt's sentence beside them."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from icsd.core.text import markdown_table, plain_line
from icsd.stages.summaries.answers import word_count
from icsd.views.preview.content import PreviewContent, marks
from icsd.views.preview.reckoning import HEADER
from icsd.views.preview.trying import SampledGroup, TriedPrompt

GAP = "  "
NARROWEST = 28  # characters of a column; with less room the columns stand below one another


def as_lines(content: PreviewContent, width: int) -> str:
    """The preview as lines of at most `width` characters, where words are not longer."""
    lines = [line for number in range(len(content.groups)) for line in _group_lines(content, number, width)]
    for tried, reckoned in zip(content.tried, content.reckoned, strict=True):
        lines += [f"{tried.name}, {content.model}", *markdown_table(HEADER, [line.cells for line in reckoned]), ""]
    return "\n".join([*lines, *(textwrap.fill(note, width) for note in content.notes)])


def _group_lines(content: PreviewContent, number: int, width: int) -> Iterator[str]:
    sampled = content.groups[number]
    yield f"group {sampled.group.group_id} ".ljust(min(width, 100), "-")
    count = 1 + len(content.tried)
    column = (width - len(GAP) * (count - 1)) // count
    if beside := column >= NARROWEST:
        width = column
    captions = list(_caption_lines(sampled, content.tried, number, width))
    columns = [captions, *(list(_answer_lines(tried, number, width, content.several)) for tried in content.tried)]
    if beside:
        for row in zip_longest(*columns, fillvalue=""):
            yield GAP.join(cell.ljust(width) for cell in row).rstrip()
    else:
        yield from (line for lines in columns for line in lines)
    yield ""


def _caption_lines(sampled: SampledGroup, tried: Sequence[TriedPrompt], number: int, width: int) -> Iterator[str]:
    for index, caption in enumerate(sampled.group.captions):
        mark = marks(tried, number, index, "*").ljust(len(tried))
        yield from _wrapped(caption, width, f"{mark} {index + 1:>2} ")


def _answer_lines(tried: TriedPrompt, number: int, width: int, several: bool) -> Iterator[str]:
    summary = tried.summaries[number]
    if several:
        yield f"[{tried.name}]"
    if summary.text is not None:
        yield from _wrapped(summary.text, width)
    for line in verdict(tried, number):
        yield from _wrapped(line, width, "- ")


def verdict(tried: TriedPrompt, number: int) -> Iterator[str]:
    """Yield what was wrong with a prompt's summary of a group, its measures, and what it cost."""
    summary, usd = tried.summaries[number], tried.usd[number]
    if summary.reason is not None:
        yield f"dropped: {summary.reason}"
    quality = summary.quality
    if quality and quality.unsupported and not (summary.reason or "").startswith("unsupported"):
        yield f"in no selected caption: {', '.join(quality.unsupported)}"
    if quality and summary.text is not None:
        words = word_count(summary.text, tried.language)
        parts = [f"{words} words", f"{len(quality.covered)} of {len(summary.selected)} covered"]
        yield ", ".join([*parts, *([f"{quality.image_tokens} image tokens"] if quality.image_tokens else [])])
    if summary.prompt_tokens is not None or summary.completion_tokens is not None:
        tokens = f"{summary.prompt_tokens or 0:,} + {summary.completion_tokens or 0:,} tokens"
        yield tokens if not usd else f"{tokens}, {usd:.6f} USD"


def _wrapped(text: str, width: int, begin: str = "") -> list[str]:
    return textwrap.wrap(begin + plain_line(text), width, subsequent_indent=" " * len(begin)) or [begin]
