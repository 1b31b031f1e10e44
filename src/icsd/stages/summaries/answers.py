"""Answers of language models: how a response is parsed and checked. It is data from outside, and never evaluated."""

import ast
import json
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Annotated, Any, NoReturn

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import BaseModel, ConfigDict, Field, field_validator

from icsd.config import AnswersConfig
from icsd.core.languages import ENGLISH, words
from icsd.core.text import shown
from icsd.llm.request import Failure, Outcome
from icsd.stages.summaries.found import objects, passages
from icsd.stages.summaries.quality import Summary, dropped

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,  # servers that answer by the schema insist on it
    "required": ["index", "summary"],
    "properties": {
        "index": {"type": "array", "items": {"type": "integer"}},
        "summary": {"type": "string"},
    },
}
_REFUSED_CATEGORIES = frozenset(("Cc", "Cf", "Cs"))  # controls, invisible formatting, halves of surrogate pairs
_JOINERS = "\u200c\u200d"  # of words in Persian and Hindi
CHARACTERS_A_WORD = 8  # of a bounded answer, with its space; English captions have 5.5
MAX_CHARACTERS_A_WORD = 20  # on average: "words" without spaces do not slip past the limit


class Rules(BaseModel):
    """The limits of a prompt's answers, and their JSON schema, which the server gets too."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_words: Annotated[int, Field(ge=1)] = 50
    min_selected: Annotated[int, Field(ge=1)] = 1
    max_selected: Annotated[int, Field(ge=1)] | None = None
    json_schema: dict[str, Any] = Field(SCHEMA, alias="schema")

    @field_validator("json_schema")
    @classmethod
    def _has_what_is_read(cls, schema: dict[str, Any]) -> dict[str, Any]:
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"is no JSON schema: {error.message}") from None
        if not {"index", "summary"} <= set(schema.get("required", [])):
            raise ValueError("must require index and summary")
        return schema

    @cached_property
    def validator(self) -> Draft202012Validator:
        """The validator of the schema."""
        return Draft202012Validator(self.json_schema)

    def bounded_schema(self, captions: int) -> dict[str, Any]:
        """Return the schema for a group of so many captions, with an end to the list of numbers and to the sentence.

        Held to the schema alone while it decodes, a weak model lists numbers or goes on until it is cut off.
        """
        parts = self.json_schema.get("properties", {})
        index, summary = (dict(parts.get(name, {})) for name in ("index", "summary"))
        index["items"] = index.get("items", {}) | {"minimum": 1, "maximum": captions}
        index["minItems"] = min(self.min_selected, captions)
        index["maxItems"] = min(self.max_selected or captions, captions)
        summary["maxLength"] = CHARACTERS_A_WORD * self.max_words
        return self.json_schema | {"properties": parts | {"index": index, "summary": summary}}


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked answer: indices of the selected captions (0-based, ascending) and the sentence.

    `lenient`: it was not all of the reply, or not quite JSON.
    """

    selected: tuple[int, ...]
    summary: str
    lenient: bool = False


class BadAnswer(Exception):
    """An answer that cannot be used: a short stable code and a detail for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


AS_SENT = AnswersConfig()


def read_outcome(
    outcome: Outcome, members: int, rules: Rules, accepted: AnswersConfig = AS_SENT, language: str = ENGLISH
) -> Summary:
    """The summary in the outcome of a request about `members` captions, or the reason why there is none."""
    if isinstance(outcome, Failure):
        return dropped(outcome.code, outcome.detail)
    tokens = (outcome.prompt_tokens, outcome.completion_tokens)
    if outcome.problem:
        return dropped("unreadable-reply", shown(outcome.problem), tokens)
    if outcome.refusal:
        return dropped("refusal", shown(outcome.refusal), tokens)
    if outcome.finish_reason == "content_filter":
        return dropped("refusal", "the server's content filter", tokens)
    if outcome.finish_reason == "length":
        # a repair request quotes the reason: other words for an answer without thoughts would buy each repair again
        thoughts = outcome.reasoning_tokens
        more = f", {thoughts:,} of them thoughts: raise max_reasoning_tokens" if thoughts else ""
        return dropped("cut-off", f"the answer reached max_tokens{more}", tokens, repairable=True)
    try:
        answer = parse_answer(outcome.content, members, rules, accepted, language, outcome.reasoning)
    except BadAnswer as error:
        return dropped(error.code, error.detail, tokens, repairable=True)
    return Summary(answer.summary, answer.selected, None, *tokens, lenient=answer.lenient)


def parse_answer(
    text: str,
    members: int,
    rules: Rules,
    accepted: AnswersConfig = AS_SENT,
    language: str = ENGLISH,
    reasoning: str | None = None,
) -> Answer:
    """The answer for a group of `members` captions; BadAnswer if it cannot be used.

    A text that is no such object as a whole may hold one: among words, after thoughts, or in `reasoning` beside an
    empty text. It is read if there is only one, or the same one several times.

    Codes: empty-answer, not-json, schema, ambiguous, no-index, index-out-of-range, doubled-index, too-few-selected,
    too-many-selected, empty-summary, too-long, control-characters.
    """
    check = partial(_checked, members=members, rules=rules, limit_words=accepted.limit_words, language=language)
    try:
        return _answer_in(text, reasoning, rules, accepted, check)
    except RecursionError:  # JSON parses deeper nesting than the validator and its messages can show
        raise BadAnswer("not-json", shown(text.strip())) from None


def _answer_in(
    text: str, reasoning: str | None, rules: Rules, accepted: AnswersConfig, check: Callable[[Any], Answer]
) -> Answer:
    try:
        return check(_parse(text, python=accepted.form == "python"))
    except BadAnswer as error:
        if error.code not in ("not-json", "schema", "empty-answer"):
            raise
        if found := _found_answer(passages(text, reasoning), rules, check):
            return found
        raise


def _found_answer(places: Iterable[str], rules: Rules, check: Callable[[Any], Answer]) -> Answer | None:
    """The one answer in a reply; None if no object has the form. BadAnswer if several can be used, or none can."""
    for passage in places:
        shaped = [found for found in objects(passage) if rules.validator.is_valid(found)]
        answers, problems = set[Answer](), list[BadAnswer]()
        for each in shaped:
            try:
                answers.add(replace(check(each), lenient=True))
            except BadAnswer as error:
                problems.append(error)
        if len(answers) > 1:
            _refuse("ambiguous", f"{len(answers)} different answers in one reply")
        if answers:
            return answers.pop()
        if problems:
            raise problems[-1]
    return None


def _checked(answer: Any, members: int, rules: Rules, limit_words: bool, language: str) -> Answer:
    """The answer in a parsed object; BadAnswer if it cannot be used."""
    error = next(iter(rules.validator.iter_errors(answer)), None)
    if error is not None:
        place = "/".join(str(part) for part in error.path) or "the answer"
        _refuse("schema", f"{place}: {shown(error.message)}")
    return Answer(
        _selected(answer["index"], members, rules),
        _summary(answer["summary"], rules.max_words if limit_words else None, language),
    )


def _refuse(code: str, detail: str) -> NoReturn:
    raise BadAnswer(code, detail)


def _parse(text: str, *, python: bool) -> Any:
    stripped = text.strip()
    if not stripped:
        _refuse("empty-answer", "nothing was answered")
    answer = _without_fence(stripped)
    try:
        return json.loads(answer, parse_constant=lambda name: _refuse("not-json", name))
    except (ValueError, RecursionError) as error:
        if python and (found := _parse_literal(answer)) is not None:
            return found
        raise BadAnswer("not-json", shown(stripped)) from error


def _without_fence(text: str) -> str:
    """The lines between two fences, if they are all of the text."""
    first, _, rest = text.partition("\n")
    language, inner = first.removeprefix("```").strip(), rest.removesuffix("```")
    ends_on_its_line = "\n" in inner[len(inner.rstrip()) :]
    if not first.startswith("```") or not (language.isalpha() or not language) or inner == rest or not ends_on_its_line:
        return text
    return inner


def _parse_literal(text: str) -> Any:
    """Parse a literal of Python: numbers, strings, lists and dictionaries, no names and no calls; None for no literal.

    The published code calls eval() on the reply, which runs what the reply says.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of a backslash in a text
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _selected(index: Any, members: int, rules: Rules) -> tuple[int, ...]:
    if not isinstance(index, list) or not all(isinstance(number, int | float) for number in index):
        _refuse("schema", "index: is no list of numbers")
    if not index:
        _refuse("no-index", "no caption was selected")
    numbers = [int(number) for number in index]  # JSON's 1.0 is an integer too
    for number in numbers:
        if not 1 <= number <= members:
            _refuse("index-out-of-range", f"{shown(str(number))} is not between 1 and {members}")
    if len(set(numbers)) < len(numbers):
        doubled = next(number for number in numbers if numbers.count(number) > 1)
        _refuse("doubled-index", f"{doubled} stands {numbers.count(doubled)} times")
    least, most = min(rules.min_selected, members), rules.max_selected or members
    if len(numbers) < least:
        _refuse("too-few-selected", f"{len(numbers)}, where at least {least} are asked for")
    if len(numbers) > most:
        _refuse("too-many-selected", f"{len(numbers)}, where at most {most} are allowed")
    return tuple(sorted(number - 1 for number in numbers))


def _summary(text: Any, max_words: int | None, language: str) -> str:
    if not isinstance(text, str):
        _refuse("schema", "summary: is no text")
    summary = text.strip()
    if not any(character.isalnum() for character in summary):
        _refuse("empty-summary", "the summary has no word")
    allowed = "" if language == ENGLISH else _JOINERS
    odd = (c for c in summary if unicodedata.category(c) in _REFUSED_CATEGORIES and c not in allowed)
    if (found := next(odd, None)) is not None:
        _refuse("control-characters", f"U+{ord(found):04X} in the summary")
    if max_words is None:
        return summary
    count = word_count(summary, language)
    if count > max_words:
        _refuse("too-long", f"{count} words, where at most {max_words} are allowed")
    if len(summary) > max_words * MAX_CHARACTERS_A_WORD:
        _refuse("too-long", f"{len(summary)} characters in {count} words")
    return summary


def word_count(text: str, language: str) -> int:
    """The number of words: of English what stands between spaces, of other languages ICU's."""
    return len(text.split() if language == ENGLISH else words(text, language))
