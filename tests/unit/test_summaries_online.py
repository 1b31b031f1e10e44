import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from icsd.errors import ConfigError, ICSDError
from icsd.summaries.endpoint import Endpoint, EndpointError, ask
from icsd.summaries.prompts import Prompt
from icsd.summaries.records import Group, Summary

KEY = "sk-secret-0123456789"
VARIABLE = "ICSD_TEST_KEY"
PROMPT = Prompt("{% for caption in captions %}\n<{{ loop.index }}> {{ caption }}\n{% endfor %}", max_words=50)
GOOD = '{"index": [2, 1], "summary": "A dog on a beach."}'
Reply = Callable[[str], tuple[int, str]]  # the prompt -> status and body


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

    def __init__(self, reply: Reply) -> None:
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
        status, body = self.server.reply(request["messages"][0]["content"]) if found else (404, "{}")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Reply], _Server]]:
    monkeypatch.setenv(VARIABLE, KEY)
    servers: list[_Server] = []

    def start(reply: Reply) -> _Server:
        servers.append(_Server(reply))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _endpoint(url: str, **changes: Any) -> Endpoint:
    settings: dict[str, Any] = {
        "base_url": url, "model": "m", "api_key_env": VARIABLE, "temperature": 0.0, "max_tokens": 500, "timeout_s": 5.0,
        "retries": 0, "concurrency": 2,
    }  # fmt: skip
    return Endpoint(**settings | changes)


def _ask(url: str, *groups: Group, **changes: Any) -> list[Summary]:
    return list(ask(groups or [_group()], PROMPT, _endpoint(url, **changes)))


def test_good_answer_is_checked_and_counted(serve: Callable[[Reply], _Server]) -> None:
    server = serve(lambda prompt: (200, _completion(GOOD)))
    assert _ask(server.url) == [Summary("A dog on a beach.", (0, 1), None, 11, 7)]
    [request] = server.requests
    assert request["model"] == "m" and request["max_tokens"] == 500 and request["temperature"] == 0.0
    assert request["messages"] == [{"role": "user", "content": "<1> A dog.\n<2> A beach.\n"}]
    assert server.keys == [f"Bearer {KEY}"]


def test_temperature_null_is_not_sent(serve: Callable[[Reply], _Server]) -> None:
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
    serve: Callable[[Reply], _Server], status: int, body: str, code: str
) -> None:
    server = serve(lambda prompt: (status, body))
    [summary] = _ask(server.url)
    assert summary.text is None and summary.places == ()
    assert summary.reason is not None and summary.reason.split(":")[0] == code


def test_answers_come_in_the_order_of_the_groups(serve: Callable[[Reply], _Server]) -> None:
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


def test_retries_are_left_to_the_client(serve: Callable[[Reply], _Server]) -> None:
    server = serve(lambda prompt: (200, _completion(GOOD)) if len(server.requests) > 1 else (503, "busy"))
    [summary] = _ask(server.url, retries=1)
    assert summary.reason is None and len(server.requests) == 2


@pytest.mark.parametrize(("status", "words"), [(401, VARIABLE), (403, VARIABLE), (404, "no model m")])
def test_refusing_endpoint_stops_the_stage_with_one_message(
    serve: Callable[[Reply], _Server], status: int, words: str
) -> None:
    echo = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}})
    server = serve(lambda prompt: (status, echo))
    with pytest.raises(EndpointError, match=words) as error:
        _ask(server.url, *(_group(n) for n in range(50)))
    assert str(status) in str(error.value) and server.url in str(error.value)
    assert error.value.__cause__ is None and error.value.__suppress_context__
    assert len(server.requests) <= 6  # those that were under way, not all fifty


def test_nobody_listening_stops_the_stage_with_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EndpointError, match=r"base_url=http://127.0.0.1:\d+/v1 cannot be reached") as error:
        _ask(f"http://127.0.0.1:{port}/v1")
    assert isinstance(error.value, ICSDError)


def test_slow_endpoint_is_a_dropped_group(serve: Callable[[Reply], _Server]) -> None:
    release = threading.Event()
    server = serve(lambda prompt: (release.wait(5), (200, _completion(GOOD)))[1])
    [summary] = _ask(server.url, timeout_s=0.2)
    release.set()
    assert summary.reason == "timeout: no answer within 0.2 s"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_unset_key_is_one_message(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match=f"environment variable {VARIABLE} is not set"):
        _ask("http://127.0.0.1:9/v1")


def test_server_without_keys_needs_none(serve: Callable[[Reply], _Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(lambda prompt: (200, _completion(GOOD)))
    assert _ask(server.url, api_key_env=None)[0].reason is None
    assert KEY not in str(server.keys)


def test_key_is_in_no_log_reason_or_error(
    serve: Callable[[Reply], _Server], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = json.dumps({"error": {"message": f"the key {KEY} is bad"}})
    replies = iter([(200, _completion(GOOD)), (500, echo), (400, echo), (429, echo), (401, echo)])
    server = serve(lambda prompt: next(replies))
    answers = ask([_group(n) for n in range(5)], PROMPT, _endpoint(server.url, concurrency=1))
    kept: list[Summary] = []
    with pytest.raises(EndpointError) as error:
        kept.extend(answers)
    server = serve(lambda prompt: (500, echo))
    kept += _ask(server.url)
    assert "***" in str(kept)
    assert KEY not in f"{kept} {error.value} {error.value.args} {caplog.text} {''.join(capfd.readouterr())}"
