"""The JSON objects in an answer, wherever they stand: after a model's thoughts, among words, in a fence.

The work is bounded whatever the text is: at most MOST_STARTS places are tried, each over MOST_CHARACTERS.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

MOST_STARTS = 100  # places of which an object may begin; the last ones, for the answer comes last
MOST_CHARACTERS = 10_000  # of an object
END_OF_THOUGHTS = "</think>"
_START = re.compile(r"\{(?=\s*\")")
# a string, also one without an end, or a comma before a bracket
_STRING_OR_COMMA = re.compile(r'("(?:[^"\\]|\\.)*(?:"|\\?\Z))|,(?=\s*[}\]])', re.DOTALL)
_DECODER = json.JSONDecoder(parse_constant=lambda name: _refuse(name))


def passages(content: str, reasoning: str | None) -> Iterator[str]:
    """Yield the parts of a reply where its answer may be, the likeliest first.

    That is what follows the model's thoughts; else all of the content; else the text that the server put aside as
    reasoning.
    """
    text = content.replace("\ufeff", "")
    _, thoughts, after = text.rpartition(END_OF_THOUGHTS)
    yield from filter(str.strip, (after if thoughts else "", text, reasoning or ""))


def objects(text: str) -> list[Any]:
    """The JSON objects in a text, in order, also those inside others; a comma before a closing bracket is ignored."""
    starts = [match.start() for match in _START.finditer(text)][-MOST_STARTS:]
    return [found for start in starts if (found := _object(text[start : start + MOST_CHARACTERS])) is not None]


def _object(text: str) -> Any:
    """The object that a text begins with; None if it begins with none."""
    for form in (text, None):
        try:
            return _DECODER.raw_decode(form or _without_commas(text))[0]
        except (ValueError, RecursionError):
            continue
    return None


def _without_commas(text: str) -> str:
    return _STRING_OR_COMMA.sub(lambda match: match[1] or "", text)


def _refuse(name: str) -> None:
    raise ValueError(name)
