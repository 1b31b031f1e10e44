import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer

from icsd.config import SummariesConfig
from icsd.core.errors import ConfigError, ICSDError
from icsd.llm.budget import Budget, OutOfBudget
from icsd.llm.cache import ResponseCache, spending
from icsd.llm.endpoint import EndpointError
from icsd.stages.summaries.answers import Rules
from icsd.stages.summaries.prompts import Prompt
from icsd.stages.summaries.providers import summarize
from icsd.stages.summaries.quality import Group, Summary

KEY = "sk-secret-0123456789"
VARIABLE = "ICSD_TEST_KEY"
PROMPT = Prompt("{% for caption in captions %}\n<{{ loop.index }}> {{ caption }}\n{% endfor %}", Rules())
GOOD = '{"index": [2, 1], "summary": "A dog on a beach."}'
Response = Callable[[str], tuple[int, str]]  # the prompt -> status and body


def _group(group_id: int = 1, first: str = "A dog.") -> Group:
    return Group(group_id, (10 * group_id, 10 * group_id + 1), (first, "A beach."))


def _completion(content: str | None, **choice: Any) -> str:
    message = {"role": "assistant", "content": content, "refusal": choice.pop("refusal", None)}
    body = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"} | choice],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }  # fmt: skip
    return json.dumps(body)


class _Server(ThreadingHTTPServer):
    """Speaks /v1/chat/completions with a scripted reply, and keeps what it was asked."""

    request_queue_size = 128

    def __init__(self, reply: Response) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply, self.requests, self.keys = reply, [], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        self.server.keys.append(self.headers["Authorization"])
        found = self.path == "/v1/chat/completions"
        status, body = self.server.reply(request["messages"][-1]["content"]) if found else (404, "{}")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Response], _Server]]:
    monkeypatch.setenv(VARIABLE, KEY)
    servers: list[_Server] = []

    def start(reply: Response) -> _Server:
        servers.append(_Server(reply))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run, beside the store of replies."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "run"


def _config(url: str, changes: dict[str, Any]) -> SummariesConfig:
    """`changes` of the openai section, and of summaries where a key is of that."""
    openai: dict[str, Any] = {
        "base_url": url, "model": "m", "api_key_env": VARIABLE, "temperature": 0.0, "max_tokens": 500, "timeout_s": 5,
        "retries": 0, "concurrency": 2,
    }  # fmt: skip
    own = {key: changes.pop(key) for key in list(changes) if key in SummariesConfig.model_fields}
    return SummariesConfig(**{"provider": "openai", "repair": False, "openai": openai | changes} | own)


def _ask(url: str, *groups: Group, **changes: Any) -> list[Summary]:
    found = summarize(groups or [_group()], PROMPT, _config(url, changes), Path("results/run"))
    return [replace(summary, repairable=False, quality=None) for summary in found]


def _events() -> list[dict[str, Any]]:
    return [dict(event) for event in ResponseCache(Path("results/replies")).events()]


def test_good_answer_is_checked_and_counted(serve: Callable[[Response], _Server]) -> None:
    server = serve(lambda prompt: (200, _completion(GOOD)))
    assert _ask(server.url) == [Summary("A dog on a beach.", (0, 1), None, 11, 7)]
    [request] = server.requests
    assert request["model"] == "m" and request["max_tokens"] == 500 and request["temperature"] == 0.0
    assert request["messages"] == [{"role": "user", "content": "<1> A dog.\n<2> A beach.\n"}]
    assert server.keys == [f"Bearer {KEY}"]


def test_temperature_null_is_not_sent(serve: Callable[[Response], _Server]) -> None:
    server = serve(lambda prompt: (200, _completion(GOOD)))
    _ask(server.url, temperature=None)
    assert "temperature" not in server.requests[0]


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, _completion("I choose the first."), "not-json"),
        (200, _completion('{"index": [1, 3], "summary": "A dog."}'), "index-out-of-range"),
        (200, _completion('{"index": [1, 1], "summary": "A dog."}'), "doubled-index"),
        (200, _completion(""), "empty-answer"),
        (200, _completion(None), "empty-answer"),
        (200, _completion(json.dumps({"index": [1], "summary": "dog " * 300})), "too-long"),
        (200, _completion(None, refusal="I can't help with that."), "refusal"),
        (200, _completion('{"index": [1], "summ', finish_reason="length"), "cut-off"),
        (200, '{"id": "chatcmpl-1", "choi', "unreadable-reply"),
        (200, '{"object": "chat.completion", "choices": []}', "unreadable-reply"),
        (200, '{"object": "chat.completion", "choices": [{}]}', "unreadable-reply"),
        (400, '{"error": {"message": "too many tokens"}}', "http-400"),
        (429, '{"error": {"message": "slow down"}}', "http-429"),
        (500, "oops", "http-500"),
    ],
)
def test_bad_answer_is_a_dropped_group_with_its_reason(
    serve: Callable[[Response], _Server], status: int, body: str, code: str
) -> None:
    server = serve(lambda prompt: (status, body))
    [summary] = _ask(server.url)
    assert summary.text is None and summary.selected == ()
    assert summary.reason is not None and summary.reason.split(":")[0] == code


def test_answers_come_in_the_order_of_the_groups(serve: Callable[[Response], _Server]) -> None:
    slow = threading.Event()

    def reply(prompt: str) -> tuple[int, str]:
        if "caption 0" in prompt:
            slow.wait(5)  # the first is answered last
        elif "caption 7" in prompt:
            slow.set()
        number = prompt.split("caption ")[1].split()[0]
        return 200, _completion(json.dumps({"index": [1], "summary": f"Number {number}"}))

    server = serve(reply)
    summaries = _ask(server.url, *(_group(n, f"caption {n}") for n in range(8)), concurrency=2)
    assert [summary.text for summary in summaries] == [f"Number {n}" for n in range(8)]


def test_requests_to_a_busy_server_are_retried_and_each_counts(serve: Callable[[Response], _Server]) -> None:
    server = serve(lambda prompt: (200, _completion(GOOD)) if len(server.requests) > 2 else (503, "busy"))
    [summary] = _ask(server.url, retries=2)
    assert summary.reason is None and len(server.requests) == 3
    assert [event.get("failed", "reply") for event in _events()] == ["http-503", "http-503", "reply"]
    assert spending(_events(), "run").requests == 3


def test_an_answered_request_is_not_sent_again(serve: Callable[[Response], _Server]) -> None:
    server = serve(lambda prompt: (200, _completion(GOOD)))
    first = _ask(server.url, _group(1, "One."), _group(2, "Two."), _group(3, "One."))
    assert len(server.requests) == 2  # of two groups with the same captions one is enough
    assert _ask(server.url, _group(4, "Two."), _group(1, "One.")) == first[1::-1]
    assert len(server.requests) == 2
    _ask(server.url, _group(1, "One."), temperature=0.5)
    assert len(server.requests) == 3


def test_an_unusable_answer_is_repaired_once(serve: Callable[[Response], _Server]) -> None:
    server = serve(lambda prompt: (200, _completion(GOOD if "cannot be used" in prompt else "I choose the first.")))
    [summary] = _ask(server.url, repair=True)
    assert summary == Summary("A dog on a beach.", (0, 1), None, 22, 14)
    _, assistant, order = server.requests[1]["messages"]
    assert assistant == {"role": "assistant", "content": "I choose the first."}
    assert order["role"] == "user" and "not-json: I choose the first." in order["content"]
    assert _ask(server.url, repair=True) == [summary] and len(server.requests) == 2


def test_a_second_bad_answer_is_a_drop_and_a_refusal_is_not_argued_with(serve: Callable[[Response], _Server]) -> None:
    server = serve(lambda prompt: (200, _completion("No.")))
    [summary] = _ask(server.url, repair=True)
    assert summary.reason == "not-json: No." and summary.prompt_tokens == 22 and len(server.requests) == 2
    refusing = serve(lambda prompt: (200, _completion(None, refusal="I can't help with that.")))
    [summary] = _ask(refusing.url, _group(7, "Two."), repair=True)
    assert summary.reason is not None and summary.reason.startswith("refusal:") and len(refusing.requests) == 1


def test_the_schema_is_sent_and_left_out_where_the_server_takes_none(serve: Callable[[Response], _Server]) -> None:
    complaint = json.dumps({"error": {"message": "unknown field response_format"}})
    server = serve(
        lambda prompt: (400, complaint) if "response_format" in server.requests[-1] else (200, _completion(GOOD))
    )
    summaries = _ask(server.url, *(_group(n, f"{n}") for n in range(6)), concurrency=1, retries=1)
    assert all(summary.reason is None for summary in summaries)
    sent = [request.get("response_format", {}).get("type") for request in server.requests]
    # the next request may be sent before the first one succeeds without the schema
    assert sent[0] == "json_schema" and sent.count("json_schema") <= 2 and sent.count(None) == 6
    schema = server.requests[0]["response_format"]["json_schema"]
    assert schema["strict"] and schema["schema"]["required"] == ["index", "summary"]


def test_the_budget_is_never_exceeded_and_responses_are_stored(serve: Callable[[Response], _Server]) -> None:
    server = serve(lambda prompt: (200, _completion(GOOD)))
    prices = {"prompt_usd_per_million": 1000.0, "completion_usd_per_million": 1000.0}
    groups = [_group(n, f"{n}") for n in range(200)]
    with pytest.raises(OutOfBudget, match=r"summaries.budget_usd=2 is used up.*raise the budget"):
        _ask(server.url, *groups, budget_usd=2.0, concurrency=8, **prices)
    spent = spending(_events(), "run")
    # a request costs 0.018, and may cost 1.2 at most: the last of them is sent while so much is left
    assert 40 <= spent.requests == len(server.requests) and 0.7 < spent.usd <= 2.0
    assert Budget(Path("results/run/budget"), 2.0).used() == pytest.approx(spent.usd)
    assert len(_ask(server.url, *groups, budget_usd=6.0, **prices)) == 200
    assert len(server.requests) == 200


@pytest.mark.parametrize(("status", "words"), [(401, VARIABLE), (403, VARIABLE), (404, "no model m")])
def test_refusing_endpoint_stops_the_stage_with_one_message(
    serve: Callable[[Response], _Server], status: int, words: str
) -> None:
    echo = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}})
    server = serve(lambda prompt: (status, echo))
    with pytest.raises(EndpointError, match=words) as error:
        _ask(server.url, *(_group(n) for n in range(50)))
    assert str(status) in str(error.value) and server.url in str(error.value)
    assert error.value.__cause__ is None and error.value.__suppress_context__
    assert len(server.requests) <= 3  # those that were under way, not all fifty


def test_nobody_listening_stops_the_stage_with_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EndpointError, match=r"base_url=http://127.0.0.1:\d+/v1 cannot be reached") as error:
        _ask(f"http://127.0.0.1:{port}/v1")
    assert isinstance(error.value, ICSDError)


def test_a_server_that_queues_longer_than_the_limit_is_sent_fewer_at_once() -> None:
    """Eight at a time, 0.4 s each: of 64 at once, a third would wait for more than 2 s, be paid for and lost.

    By a simulation, 560 requests if nothing is learned from that, and 260 as it is.
    """
    groups = [_group(number, f"A dog {number}.") for number in range(200)]
    with ChatServer(served_at_once=8, latency_ms=400, latency_spread=0) as server:
        summaries = _ask(server.url, *groups, api_key_env=None, timeout_s=2, retries=8, concurrency=64)
    assert {summary.reason for summary in summaries} == {None}
    assert len(server.seen) < 2 * len(groups)


def test_slow_endpoint_is_a_dropped_group(serve: Callable[[Response], _Server]) -> None:
    release = threading.Event()
    server = serve(lambda prompt: (release.wait(5), (200, _completion(GOOD)))[1])
    [summary] = _ask(server.url, timeout_s=1)
    release.set()
    assert summary.reason == "timeout: no answer within 1 s"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_unset_key_is_one_message(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match=f"environment variable {VARIABLE} is not set"):
        _ask("http://127.0.0.1:9/v1")


def test_server_without_keys_needs_none(serve: Callable[[Response], _Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(lambda prompt: (200, _completion(GOOD)))
    assert _ask(server.url, api_key_env=None)[0].reason is None
    assert KEY not in str(server.keys)


def test_key_is_in_no_log_reason_or_error(
    serve: Callable[[Response], _Server], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = json.dumps({"error": {"message": f"the key {KEY} is bad"}})
    replies = iter([(200, _completion(GOOD)), (500, echo), (400, echo), (429, echo), (401, echo)])
    server = serve(lambda prompt: next(replies))
    with pytest.raises(EndpointError) as error:
        _ask(server.url, *(_group(n, f"{n}") for n in range(5)), concurrency=1)
    server = serve(lambda prompt: (500, echo))
    kept = [summary for n in range(1, 5) for summary in _ask(server.url, _group(n, f"{n}"))]
    assert "***" in str(kept)
    said = f"{kept} {error.value} {error.value.args} {caplog.text} {''.join(capfd.readouterr())}"
    files = [path.read_bytes() for path in Path().rglob("*") if path.is_file()]
    assert files and KEY not in said and KEY.encode() not in b"".join(files)
