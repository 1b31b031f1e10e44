import json

import pytest

from icsd.summaries.answers import BadAnswer, parse_answer

GOOD = '{"index": [3, 1], "summary": " A dog on a beach. "}'


@pytest.mark.parametrize("text", [GOOD, f"```json\n{GOOD}\n```", f"```\n{GOOD}\n```", f"\n  {GOOD}\n"])
def test_parse_answer_takes_json_with_or_without_fences(text: str) -> None:
    answer = parse_answer(text, members=3, max_words=50)
    assert answer.places == (0, 2)
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
        parse_answer(text, members=3, max_words=50)
    assert error.value.code == code
    assert error.value.detail.isascii() and error.value.detail.isprintable()
    assert len(error.value.detail) < 200


def test_parse_answer_counts_words_to_the_limit() -> None:
    assert parse_answer(_answer([1], "word " * 50), members=3, max_words=50).summary.count("word") == 50
    with pytest.raises(BadAnswer, match="51 words, where at most 50"):
        parse_answer(_answer([1], "word " * 51), members=3, max_words=50)
