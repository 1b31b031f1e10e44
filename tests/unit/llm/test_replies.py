"""Replies of any form: each is a row, none ends the job, none is lost or paid beyond the budget."""

import copy
import itertools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from plain_server import PlainServer

from icsd.config import SummariesConfig
from icsd.llm import client
from icsd.llm.cache import ResponseCache, spending
from icsd.llm.images import ImageRequest, _Images
from icsd.llm.replies import UnreadableReply, parse_json, read_completion, read_response, token_count
from icsd.llm.request import Failure, Outcome, Response
from icsd.stages.summaries.answers import Rules, read_outcome
from icsd.stages.summaries.prompts import Prompt
from icsd.stages.summaries.providers import summarize
from icsd.stages.summaries.quality import Group, Summary

CASES = json.loads((Path(__file__).parents[2] / "data/replies.json").read_text())
GOOD = '{"index": [1, 3, 4], "summary": "A dog runs on a beach."}'
PROMPT = Prompt("{% for caption in captions %}\n<{{ loop.index }}> {{ caption }}\n{% endfor %}", Rules())
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 7, 10**40, 1e30, math.inf, -math.inf, math.nan, 1.5, "", "x", "12", "\ud83d", "\x00",
    GOOD, [], [1], ["a"], [None], [[]], {}, {"a": 1}, {"type": "text", "text": GOOD}, [{"type": "text", "text": GOOD}],
    [{"type": 1}], [{"type": "text", "text": 5}], {"0": {}}, "stop", "length", "content_filter",
]  # fmt: skip


def _body(case: dict[str, Any]) -> dict[str, Any]:
    message = case.get("message", {"content": GOOD})
    choice = {"index": 0, "message": message, "finish_reason": case.get("finish_reason", "stop")}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    return {"choices": case.get("choices", [choice]), "usage": case.get("usage", usage)}


def _outcome(text: str) -> Outcome:
    try:
        return read_completion(parse_json(text))
    except UnreadableReply as error:
        return Failure("unreadable-reply", str(error))


def _mutated(rng: random.Random) -> dict[str, Any]:
    """A good completion with a few values, at any depth, replaced, renamed or removed."""
    body = _body({})
    body["choices"][0]["message"] |= {"role": "assistant", "refusal": None, "reasoning_content": None}
    body["usage"]["completion_tokens_details"] = {"reasoning_tokens": 3}
    for _ in range(rng.randint(1, 3)):
        place: Any = body
        while True:
            key = rng.choice(list(place)) if isinstance(place, dict) else 0
            deeper = isinstance(place[key], dict | list) and len(place[key]) > 0
            if not deeper or rng.random() < 0.3:
                break
            place = place[key]
        if isinstance(place, dict) and rng.random() < 0.15:
            del place[key]
        else:
            place[key] = copy.deepcopy(rng.choice(ODD))
        if not body:
            break
    return body


def test_ten_thousand_odd_replies_are_each_a_row() -> None:
    rng, read = random.Random(17), 0
    for _ in range(10_000):
        outcome = _outcome(json.dumps(_mutated(rng)))
        summary = read_outcome(outcome, 5, Rules())
        assert (summary.text is None) == (summary.reason is not None)
        read += summary.text is not None
        if isinstance(outcome, Response):
            for count in (outcome.prompt_tokens, outcome.completion_tokens, outcome.reasoning_tokens):
                assert count is None or (type(count) is int and count >= 0)
            assert read_response(json.loads(json.dumps(asdict(outcome)))) == outcome
            json.dumps(outcome.content)
    assert 3000 < read < 9000


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_an_odd_reply_is_read_or_a_row_with_its_reason(case: dict[str, Any]) -> None:
    summary = read_outcome(_outcome(json.dumps(_body(case))), 5, Rules())
    assert case["expected"] in (summary.text, (summary.reason or "").split(":")[0])


@pytest.mark.parametrize("text", ['{"a":' * 5000 + "1" + "}" * 5000, "[" * 5000, "{", "", "\ud83d", "1" * 5000])
def test_json_that_is_none_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableReply):
        parse_json(text)


def test_a_count_that_cannot_be_believed_is_none() -> None:
    assert [token_count(value) for value in ODD[:13]] == [None, None, None, 0, 1, None, 7, *[None] * 6]
    assert token_count(3.0) == 3


def test_tokens_that_the_total_alone_counts_are_the_answers() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}
    assert read_completion(_body({"usage": usage})).completion_tokens == 105


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"7", b"\xff", b"[" * 5000, b"{}", *(b'{"data": ' + each + b"}" for each in (
        b"{}", b"7", b"[]", b"[7]", b"[[]]", b"[null]", b'[{"b64_json": 7}]', b'[{"b64_json": ["a"]}]',
        b'[{"b64_json": "\\ud83d"}]', b'[{"b64_json": "AAAA"}]', b'[{"b64_json": "a"}]',
    ))],
)  # fmt: skip
def test_an_odd_reply_of_a_server_of_images_is_unreadable(body: bytes) -> None:
    request = ImageRequest("m", "A dog.", None, 0, "seed", {})
    outcome = _Images("images.openai", 0.0)._read(body, request).outcome
    assert isinstance(outcome, Failure) and outcome.code == "unreadable-reply"


# --- Through the client -----------------------------------------------------------------------------------------------
class _Server(PlainServer):
    """Answers the group of number n with `bodies[n]`, as text."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.bodies, self.asked = list[str](), list[int]()

    def _reply(self, request: dict[str, Any]) -> tuple[int, str, dict[str, str]]:
        number = int(request["messages"][0]["content"].split("number ")[1].split()[0])
        self.asked.append(number)
        return 200, self.bodies[number], {}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    monkeypatch.chdir(tmp_path)
    with _Server() as running:
        yield running


def _ask(server: _Server, **changes: Any) -> list[Summary]:
    openai = {"base_url": server.url, "model": "m", "api_key_env": None, "retries": 0, "concurrency": 8}
    config = SummariesConfig(provider="openai", openai=openai, **changes)
    captions = [(f"A dog, number {number} .", *["A beach."] * 4) for number in range(len(server.bodies))]
    groups = [Group(number, tuple(range(5)), each) for number, each in enumerate(captions)]
    return list(summarize(groups, PROMPT, config, Path("results/run")))


def _events() -> list[dict[str, Any]]:
    return [dict(event) for event in ResponseCache(Path("results/replies")).events()]


def test_odd_replies_among_good_ones_lose_no_neighbour_and_are_not_paid_again(server: _Server) -> None:
    rng = random.Random(18)
    good, deep = json.dumps(_body({})), json.dumps(_body({})).replace(json.dumps(GOOD), "[" * 5000 + "]" * 5000)
    server.bodies = [json.dumps(_mutated(rng)) if number % 2 else good for number in range(298)] + [deep, good]
    summaries = _ask(server, repair=False)
    assert len(summaries) == len(server.bodies) == len(server.asked)
    assert all(summary.text for number, summary in enumerate(summaries) if server.bodies[number] == good)
    events = _events()
    assert len(events) == len(server.bodies) and spending(events, "run").usd >= 0
    messages = sum("reply" in event for event in events)
    assert 200 < messages < 299
    assert _ask(server, repair=False) == summaries
    assert len(server.asked) == 2 * len(server.bodies) - messages  # only those without a message


def test_an_error_that_nobody_expected_keeps_what_is_under_way(
    server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.bodies = [json.dumps(_body({})) for _ in range(40)]
    real, calls = client.read_completion, itertools.count()

    def read(body: Any) -> Response:
        if next(calls) == 20:
            raise KeyError("unexpected")
        return real(body)

    monkeypatch.setattr(client, "read_completion", read)
    with pytest.raises(KeyError, match="unexpected"):
        _ask(server)
    events = _events()
    assert len(events) == len(server.asked) < 40  # each that was answered is kept
    assert {event.get("failed") for event in events} == {None, "unreadable-reply"}


def test_a_store_that_an_older_version_spoilt_heals(server: _Server, caplog: pytest.LogCaptureFixture) -> None:
    server.bodies = [json.dumps(_body({})) for _ in range(6)]
    _ask(server)
    cache = ResponseCache(Path("results/replies"))
    keys = [event["key"] for event in _events()]
    for path in Path("results/replies").glob("*.replies"):
        path.unlink()
    odd: list[Any] = [
        {"content": {"a": 1}}, {"content": GOOD, "prompt_tokens": "12", "completion_tokens": math.inf},
        {"content": GOOD, "refusal": None, "new_field": 1}, "text", None,
    ]  # fmt: skip
    with cache.writer(run="run") as segment:
        about = {"run": "run", "usd": math.nan}
        records = [{"key": key, "reply": reply} | about for key, reply in zip(keys, odd, strict=False)]
        segment.append([*records, {"key": keys[5], "reply": odd[2], "run": "run", "usd": -4.0}])
        segment._segment.append([(keys[0], b"["), (keys[0], b"[1]"), (keys[0], b"[" * 5000)])
    server.asked.clear()
    summaries = _ask(server)
    assert [(summary.reason or "ok").split(":")[0] for summary in summaries].count("unreadable-reply") == 1
    assert len(server.asked) == 2 and "5 records cannot be read and are ignored" in caplog.text
    assert spending(_events(), "run").usd == pytest.approx(2 * (11 * 0.15 + 7 * 0.60) / 1e6)
