import json
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from icsd.config import AnswersConfig
from icsd.llm.request import Response
from icsd.stages.summaries.answers import BadAnswer, Rules, parse_answer, read_outcome

GOOD = '{"index": [3, 1], "summary": " A dog on a beach. "}'


@pytest.mark.parametrize("text", [GOOD, f"```json\n{GOOD}\n```", f"```\n{GOOD}\n```", f"\n  {GOOD}\n"])
def test_parse_answer_takes_json_with_or_without_fences(text: str) -> None:
    answer = parse_answer(text, members=3, rules=Rules())
    assert answer.selected == (0, 2)
    assert answer.summary == "A dog on a beach."


def _answer(index: object, summary: object = "A dog.") -> str:
    return json.dumps({"index": index, "summary": summary})


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty-answer"),
        ("  \n", "empty-answer"),
        ("I choose 1 and 2.", "not-json"),
        ('{"index": [1], "summary": "A d', "not-json"),
        ("__import__('os').system('true')", "not-json"),
        ('{"index": [NaN], "summary": "A dog."}', "not-json"),
        ("[" * 100_000, "not-json"),
        ('{"index": [' + "1" * 5000 + '], "summary": "A dog."}', "not-json"),
        ("[1, 2]", "schema"),
        ('{"index": [1]}', "schema"),
        (_answer("1"), "schema"),
        (_answer([1.5]), "schema"),
        (_answer([True]), "schema"),
        (_answer(["1"]), "schema"),
        (_answer([1], None), "schema"),
        (_answer([]), "no-index"),
        (_answer([0]), "index-out-of-range"),
        (_answer([-1]), "index-out-of-range"),
        (_answer([1, 4]), "index-out-of-range"),
        (_answer([2, 1, 2]), "doubled-index"),
        (_answer([1], ""), "empty-summary"),
        (_answer([1], " ... "), "empty-summary"),
        (_answer([1], "dog " * 300), "too-long"),
        (_answer([1], "a" * 5000), "too-long"),
        (_answer([1], "A dog\x00."), "control-characters"),
        (_answer([1], "A dog.\nAnd a cat."), "control-characters"),
        (_answer([1], "A \u202edog."), "control-characters"),
        ('{"index": [1], "summary": "A \\ud800 dog."}', "control-characters"),
    ],
)
def test_parse_answer_refuses_with_a_stable_code(text: str, code: str) -> None:
    with pytest.raises(BadAnswer) as error:
        parse_answer(text, members=3, rules=Rules())
    assert error.value.code == code
    assert error.value.detail.isascii() and error.value.detail.isprintable()
    assert len(error.value.detail) < 200


@pytest.mark.parametrize("form", ["json", "python"])
def test_nesting_of_any_depth_is_a_bad_answer(form: str) -> None:
    accepted = AnswersConfig(form=form)
    for depth in (2, 100, *range(900, 1011)):
        nested = "[" * depth + "1" + "]" * depth
        for text in (f'{{"index": {nested}, "summary": "a"}}', f'It is {{"index": [1], "summary": {nested}}}'):
            with pytest.raises(BadAnswer) as error:
                parse_answer(text, 3, Rules(), accepted)
            assert error.value.code in ("schema", "not-json")


def test_parse_answer_counts_words_to_the_limit() -> None:
    assert parse_answer(_answer([1], "word " * 50), members=3, rules=Rules()).summary.count("word") == 50
    with pytest.raises(BadAnswer, match="51 words, where at most 50"):
        parse_answer(_answer([1], "word " * 51), members=3, rules=Rules())


def test_without_limit_words_no_word_is_counted() -> None:
    long = "word " * 51 + "a" * 5000
    assert parse_answer(_answer([1], long), 3, Rules(), AnswersConfig(limit_words=False)).summary == long


AS_PUBLISHED = AnswersConfig(form="python", limit_words=False)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "{'index': [3, 1], 'summary': ' A dog on a beach. '}",
        '{"index": [3, 1], \'summary\': " A dog on a beach. "}',
    ],
)
def test_python_reads_what_the_published_code_evaluates(text: str) -> None:
    answer = parse_answer(text, 3, Rules(), AS_PUBLISHED)
    assert (answer.selected, answer.summary) == ((0, 2), "A dog on a beach.")


def test_python_reads_quotes_and_backslashes_in_a_text() -> None:
    assert (
        parse_answer("{'index': [1], 'summary': \"A man's dog.\"}", 3, Rules(), AS_PUBLISHED).summary == "A man's dog."
    )
    assert parse_answer(r"{'index': [1], 'summary': 'A \d dog.'}", 3, Rules(), AS_PUBLISHED).summary == r"A \d dog."


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("__import__('os').system('true')", "not-json"),
        ("{'index': [1], 'summary': str(1)}", "not-json"),
        ("{'index': list, 'summary': 'A dog.'}", "not-json"),
        ("[" * 100_000, "not-json"),
        ("{'index': [" + "1" * 5000 + "], 'summary': 'A dog.'}", "not-json"),
        ("{[]: 1}", "not-json"),
        ("None", "not-json"),
        ("{1, 2}", "schema"),
        ("{'index': (1, 2), 'summary': 'A dog.'}", "schema"),
        ("{'index': [1], 'summary': b'A dog.'}", "schema"),
        ("{1: [1], 'summary': 'A dog.'}", "schema"),
        ("{'index': [1j], 'summary': 'A dog.'}", "schema"),
    ],
)
def test_python_runs_nothing_and_reads_literals_alone(text: str, code: str) -> None:
    with pytest.raises(BadAnswer) as error:
        parse_answer(text, 3, Rules(), AS_PUBLISHED)
    assert error.value.code == code


def test_parse_answer_counts_the_selected_captions() -> None:
    rules = Rules(min_selected=2, max_selected=3)
    assert parse_answer(_answer([1, 2, 3]), members=9, rules=rules).selected == (0, 1, 2)
    assert parse_answer(_answer([1]), members=1, rules=rules).selected == (0,)  # no more are there
    for index, code in (([1], "too-few-selected"), ([1, 2, 3, 4], "too-many-selected")):
        with pytest.raises(BadAnswer) as error:
            parse_answer(_answer(index), members=9, rules=rules)
        assert error.value.code == code


def test_a_prompts_own_schema_is_checked_and_what_is_read_is_safe_whatever_it_says() -> None:
    loose = Rules.model_validate({"schema": {"type": "object", "required": ["index", "summary", "why"]}})
    assert parse_answer(_answer([1])[:-1] + ', "why": "because"}', members=3, rules=loose).summary == "A dog."
    for text in (_answer([1]), _answer("1")[:-1] + ', "why": 1}', _answer([1], 5)[:-1] + ', "why": 1}'):
        with pytest.raises(BadAnswer, match="schema"):
            parse_answer(text, members=3, rules=loose)


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"type": "object"}, {"required": ["index"]}])
def test_a_schema_that_is_none_or_lacks_what_is_read_is_refused(schema: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"is no JSON schema|must require index and summary"):
        Rules.model_validate({"schema": schema})


# --- Answers in longer replies ----------------------------------------------------------------------------------------
FOUND = json.loads((Path(__file__).parents[3] / "data/answers.json").read_text())


@pytest.mark.parametrize("case", FOUND, ids=lambda case: case["name"])
def test_the_one_answer_is_read_wherever_it_stands(case: dict[str, str]) -> None:
    outcome = Response(case["content"], None, "stop", reasoning=case["reasoning"])
    summary = read_outcome(outcome, 5, Rules())
    assert summary.text == case["summary"] and summary.lenient == (summary.text is not None)
    assert summary.text is None or summary.selected == (0, 2, 3)


def test_an_answer_that_is_all_of_the_reply_is_not_lenient() -> None:
    for text in (GOOD, f"```json\n{GOOD}\n```"):
        assert not read_outcome(Response(text), 3, Rules()).lenient


@pytest.mark.parametrize(
    "hostile",
    [
        "{" * 1_000_000, '{"' * 500_000, '{"a":' * 200_000, '{"a' + "x" * 1_000_000, "{" + " " * 1_000_000,
        '{"a": "' + '\\"' * 500_000, "</think>" * 125_000, '{"a": [' + "1," * 500_000, "[" * 1_000_000,
        '{"index": [1], "summary": ' * 40_000, "```json\n" * 125_000, "```\n" + "\n" * 1_000_000 + "x",
        '{"a": 1,' + " " * 1_000_000,
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_hostile_text_takes_no_long(hostile: str) -> None:
    start = time.process_time()
    with pytest.raises(BadAnswer):
        parse_answer(hostile, 3, Rules())
    assert parse_answer(f"{hostile} {GOOD}", 3, Rules()).summary == "A dog on a beach."
    assert time.process_time() - start < 5  # seconds of this process; quadratic work takes hours
