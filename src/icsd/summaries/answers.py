"""What a language model may answer, and the check of it. An answer is data from outside: parsed as JSON, never run."""

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, NoReturn

from jsonschema import Draft202012Validator

ANSWER_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,  # servers that answer by the schema insist on it
    "required": ["index", "summary"],
    "properties": {
        "index": {"type": "array", "items": {"type": "integer"}},
        "summary": {"type": "string"},
    },
}
_VALIDATOR = Draft202012Validator(ANSWER_SCHEMA)
_FENCED = re.compile(r"\A```[a-zA-Z]*\s*\n(.*)\n\s*```\Z", re.DOTALL)
_REFUSED_CATEGORIES = frozenset(("Cc", "Cf", "Cs"))  # controls, invisible formatting, halves of surrogate pairs
MAX_CHARACTERS_A_WORD = 20  # on average: "words" without spaces do not slip past the limit
SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked answer: places of the selected captions (0-based, ascending) and the sentence."""

    places: tuple[int, ...]
    summary: str


class BadAnswer(Exception):
    """An answer that cannot be used: a short stable code and a detail for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def parse_answer(text: str, members: int, max_words: int) -> Answer:
    """The answer for a group of `members` captions; BadAnswer says what is wrong with it.

    Codes: empty-answer, not-json, schema, no-index, index-out-of-range, doubled-index, empty-summary, too-long,
    control-characters.
    """
    answer = _parse_json(text)
    error = next(iter(_VALIDATOR.iter_errors(answer)), None)
    if error is not None:
        place = "/".join(str(part) for part in error.path) or "the answer"
        _refuse("schema", f"{place}: {shown(error.message)}")
    return Answer(_places(answer["index"], members), _summary(answer["summary"], max_words))


def shown(text: str) -> str:
    """The beginning of a text from outside, in printable ASCII."""
    plain = text.encode("ascii", "backslashreplace").decode().translate(_ESCAPES)
    return plain if len(plain) <= SHOWN_CHARACTERS else plain[: SHOWN_CHARACTERS - 3] + "..."


_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


def _refuse(code: str, detail: str) -> NoReturn:
    raise BadAnswer(code, detail)


def _parse_json(text: str) -> Any:
    stripped = text.strip()
    if not stripped:
        _refuse("empty-answer", "nothing was answered")
    fenced = _FENCED.match(stripped)
    answer = fenced.group(1) if fenced else stripped
    try:
        return json.loads(answer, parse_constant=lambda name: _refuse("not-json", name))
    except (ValueError, RecursionError) as error:
        raise BadAnswer("not-json", shown(stripped)) from error


def _places(index: list[float], members: int) -> tuple[int, ...]:
    if not index:
        _refuse("no-index", "no caption was selected")
    numbers = [int(number) for number in index]  # JSON's 1.0 is an integer too
    for number in numbers:
        if not 1 <= number <= members:
            _refuse("index-out-of-range", f"{shown(str(number))} is not between 1 and {members}")
    if len(set(numbers)) < len(numbers):
        doubled = next(number for number in numbers if numbers.count(number) > 1)
        _refuse("doubled-index", f"{doubled} stands {numbers.count(doubled)} times")
    return tuple(sorted(number - 1 for number in numbers))


def _summary(text: str, max_words: int) -> str:
    summary = text.strip()
    if not any(character.isalnum() for character in summary):
        _refuse("empty-summary", "the summary has no word")
    found = next((c for c in summary if unicodedata.category(c) in _REFUSED_CATEGORIES), None)
    if found is not None:
        _refuse("control-characters", f"U+{ord(found):04X} in the summary")
    words = len(summary.split())
    if words > max_words:
        _refuse("too-long", f"{words} words, where at most {max_words} are allowed")
    if len(summary) > max_words * MAX_CHARACTERS_A_WORD:
        _refuse("too-long", f"{len(summary)} characters in {words} words")
    return summary
