"""Errors of servers, models that reason, counts over their bound, full disks and servers that are slow."""

import errno
import json
import logging
import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from plain_server import Body, PlainServer, Reply

from icsd.config import SummariesConfig
from icsd.core import files
from icsd.core.errors import DiskFullError
from icsd.llm import sending, throttle
from icsd.llm.budget import Budget, OverBound
from icsd.llm.cache import ResponseCache, spending
from icsd.llm.endpoint import EndpointError
from icsd.llm.parameters import Parameters
from icsd.llm.problems import of_body
from icsd.llm.request import Request, Sampling
from icsd.stages.summaries.answers import Rules
from icsd.stages.summaries.prompts import Prompt
from icsd.stages.summaries.providers import summarize
from icsd.stages.summaries.quality import Group, Summary

GOOD = '{"index": [2, 1], "summary": "A dog on a beach."}'
PROMPT = Prompt("{% for caption in captions %}\n<{{ loop.index }}> {{ caption }}\n{% endfor %}", Rules())


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(throttle, "FIRST_BACKOFF_S", 0.01)


def _completion(content: str = GOOD, usage: Any = None) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    tokens = {"prompt_tokens": 11, "completion_tokens": 7} if usage is None else usage
    return 200, json.dumps({"choices": [choice], "usage": tokens}), {}


def _error(status: int, message: str, **fields: Any) -> Reply:
    return status, json.dumps({"error": {"message": message} | fields}), {}


def _number(request: Body) -> int:
    return int(request["messages"][0]["content"].split("number ")[1].split()[0])


def _ask(server: PlainServer, groups: int, run: str = "run", **changes: Any) -> list[Summary]:
    members = [Group(n, (1, 2), (f"A dog, number {n} .", "A beach.")) for n in range(groups)]
    return list(summarize(members, PROMPT, _config(server.url, **changes), Path("results") / run))


def _config(url: str, **changes: Any) -> SummariesConfig:
    own = {key: changes.pop(key) for key in list(changes) if key in SummariesConfig.model_fields}
    openai = {"base_url": url, "model": "m", "api_key_env": None, "retries": 0, "concurrency": 4} | changes
    return SummariesConfig(**{"provider": "openai", "repair": False, "openai": openai} | own)


def _codes(summaries: Sequence[Summary]) -> Counter[str]:
    return Counter((summary.reason or "ok").split(":")[0] for summary in summaries)


def _events() -> list[dict[str, Any]]:
    return [dict(event) for event in ResponseCache(Path("results/replies")).events()]


# --- HTTP errors ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "refusal",
    [
        _error(400, "The response was filtered due to the prompt triggering Azure's policy.", code="content_filter"),
        _error(400, "Input data may contain inappropriate content.", code="data_inspection_failed"),
        _error(451, "no"),
    ],
)
def test_a_prompt_that_a_filter_flags_is_a_refusal_of_that_group_and_not_asked_again(refusal: Reply) -> None:
    with PlainServer(lambda request: refusal if _number(request) == 3 else _completion()) as server:
        assert _codes(_ask(server, 6)) == {"ok": 5, "refusal": 1}
        assert _codes(_ask(server, 6)) == {"ok": 5, "refusal": 1}
        assert len(server.seen) == 6


@pytest.mark.parametrize(
    "refusal",
    [
        _error(403, "Your chosen model requires moderation and your input was flagged", code=403),
        _error(400, "Content Exists Risk", type="invalid_request_error"),
        _error(422, "The policy violation filter of response_format failed"),
    ],
)
def test_words_alone_refuse_no_prompt_for_good_and_cost_nothing(refusal: Reply) -> None:
    flagged = {0, 3}
    with PlainServer(lambda request: refusal if _number(request) in flagged else _completion()) as server:
        assert _codes(_ask(server, 6, **PRICES)) == {"ok": 4, f"http-{refusal[0]}": 2}
        assert len(server.seen) == 6 and sum(event["usd"] > 0 for event in _events()) == 4
        flagged.clear()
        assert _codes(_ask(server, 6)) == {"ok": 6} and len(server.seen) == 8


def test_a_403_without_words_is_of_one_prompt_until_there_are_many_in_a_row() -> None:
    bad = {12}
    with PlainServer(lambda request: (403, "<html>", {}) if _number(request) in bad else _completion()) as server:
        assert _codes(_ask(server, 20)) == {"ok": 19, "http-403": 1}
        bad.update(range(20, 90))
        with pytest.raises(EndpointError, match="key is not accepted"):
            _ask(server, 90)
        assert len(server.seen) < 60


@pytest.mark.parametrize(
    "reply",
    [_error(402, "Insufficient Balance"), _error(429, "You exceeded your quota", code="insufficient_quota")],
)
def test_an_account_without_credit_stops_the_stage(reply: Reply) -> None:
    with PlainServer(lambda request: reply) as server:
        with pytest.raises(EndpointError, match="no credit left"):
            _ask(server, 60, retries=5)
        assert len(server.seen) <= 8


@pytest.mark.parametrize(
    "reply",
    [
        _error(400, "json_schema is not supported by this model"),
        (422, '{"detail": [{"loc": ["body", "response_format", "type"], "msg": "Input should be \'text\'"}]}', {}),
        _error(400, "Unrecognised keyword 'additionalProperties'"),
        (422, "", {}),
    ],
)
def test_a_schema_that_is_refused_in_any_words_is_left_out_from_then_on(reply: Reply) -> None:
    with PlainServer(lambda request: reply if "response_format" in request else _completion()) as server:
        assert _codes(_ask(server, 12, concurrency=1)) == {"ok": 12}
        sent = ["response_format" in request for request in server.seen]
        assert sent[0] and sum(sent) <= 2 and not any(sent[4:])  # the next one may be sent before the first succeeds


def test_a_schema_bounded_by_the_group_is_sent_if_the_config_says_so() -> None:
    with PlainServer(lambda request: _completion()) as server:
        _ask(server, 1)
        _ask(server, 1, run="other", bounded_output=True)
        sent = [request["response_format"]["json_schema"]["schema"]["properties"]["index"] for request in server.seen]
    assert "maxItems" not in sent[0]
    assert (sent[1]["maxItems"], sent[1]["items"]["maximum"]) == (2, 2)


def test_an_error_of_one_prompt_does_not_take_the_schema_from_the_others() -> None:
    long = _error(400, "This model's maximum context length is 8192 tokens, reduce the messages or max_tokens")
    with PlainServer(lambda request: long if _number(request) == 5 else _completion()) as server:
        assert _codes(_ask(server, 10, concurrency=1)) == {"ok": 9, "http-400": 1}
        sent = [request for request in server.seen if _number(request) != 5]
        assert all("response_format" in request and "max_tokens" in request for request in sent)


def test_words_of_an_error_of_the_account_are_no_refusal() -> None:
    assert not of_body(403, {"message": "Your account was flagged for a content policy violation"}).is_refusal
    assert of_body(401, {"message": "content policy"}).is_fatal and of_body(402, None).is_fatal
    assert not of_body(400, {"code": {"a": 1}, "message": ["x"], "type": 5}).is_fatal


# --- Models that reason -----------------------------------------------------------------------------------------------
def _reasoner(request: Body) -> Reply:
    """As OpenAI's models that reason answer."""
    if "max_tokens" in request:
        message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
        return _error(400, message, param="max_tokens", code="unsupported_parameter")
    if request.get("temperature") not in (None, 1):
        message = "Unsupported value: 'temperature' does not support 0 with this model. Only the default is supported."
        return _error(400, message, param="temperature", code="unsupported_value")
    return _completion(usage={"prompt_tokens": 11, "completion_tokens": request["max_completion_tokens"]})


def test_what_a_model_that_reasons_takes_is_learnt_once(caplog: pytest.LogCaptureFixture) -> None:
    with PlainServer(_reasoner) as server:
        assert _codes(_ask(server, 8, concurrency=1)) == {"ok": 8}
        assert len(server.seen) <= 12
        assert server.seen[-1]["max_completion_tokens"] == 500 and "temperature" not in server.seen[-1]
    assert "with max_completion_tokens in place of max_tokens and with the server's own temperature" in caplog.text
    with PlainServer(_reasoner) as server:
        assert _codes(_ask(server, 40, concurrency=16, model="n")) == {"ok": 40}
        assert len(server.seen) <= 40 + 2 * 32  # the first ones learn at once


def test_config_says_what_a_model_that_reasons_takes() -> None:
    with PlainServer(_reasoner) as server:
        settings = {"token_parameter": "max_completion_tokens", "temperature": None, "reasoning_effort": "low"}
        _ask(server, 3, max_reasoning_tokens=2000, **settings)
        assert len(server.seen) == 3
        assert {request["max_completion_tokens"] for request in server.seen} == {2500}
        assert {request["reasoning_effort"] for request in server.seen} == {"low"}


def test_hidden_tokens_are_reserved() -> None:
    with PlainServer(_reasoner) as server:
        prices = {"prompt_usd_per_million": 0.0, "completion_usd_per_million": 1000.0}
        summaries = _ask(server, 3, max_reasoning_tokens=2000, budget_usd=8.0, **prices)
        assert _codes(summaries) == {"ok": 3} and spending(_events(), "run").usd == pytest.approx(7.5)


def test_the_key_of_a_request_is_that_of_before_unless_it_has_new_parameters() -> None:
    def key(*sampling: Any) -> str:
        return Request(Sampling("m", 0.0, 500, *sampling), ({"role": "user", "content": "One."},), {"type": "x"}).key

    assert key() == "4d2908b36a1e60d30b073385d6096b9b2c1d55572940a53147d1cf7d09693ee5"
    assert len({key(), key(1), key(0, "low"), key(1, "low")}) == 4 and key(0, None) == key()


def test_parameters_that_were_refused_are_not_tried_again() -> None:
    error, start = of_body(400, {"message": "max_tokens temperature response_format"}), Parameters()
    tried, takes = [start], start.instead(error, [start], proven=True)
    while takes:
        tried.append(takes)
        takes = takes.instead(error, tried, proven=True)
    assert len(tried) == len(set(tried)) <= 8


# --- Budget -----------------------------------------------------------------------------------------------------------
PRICES = {"prompt_usd_per_million": 10.0, "completion_usd_per_million": 10.0}


@pytest.mark.parametrize("usage", [(10, 20_000), (10, 900_000_000), (50_000, 5)])
def test_counts_over_their_bound_stop_the_stage_and_are_counted(usage: tuple[int, int]) -> None:
    counts = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))
    with PlainServer(lambda request: _completion(usage=counts)) as server:
        with pytest.raises(OverBound, match=r"budget_usd=0.2 cannot be held.*max_hidden_tokens") as error:
            _ask(server, 60, budget_usd=0.2, **PRICES)
        assert f"one of {usage[0]:,} tokens of the prompt and {usage[1]:,} of the answer" in str(error.value)
        assert len(server.seen) <= 16
        spent = spending(_events(), "run")
        assert spent.replies == len(server.seen) and spent.usd <= 0.2 and spent.over_usd > 0.1
        assert Budget(Path("results/run/budget"), 0.2).used() == pytest.approx(spent.usd + spent.over_usd)


def test_counts_over_their_bound_are_logged_without_a_ceiling(caplog: pytest.LogCaptureFixture) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 20_000}
    with PlainServer(lambda request: _completion(usage=usage)) as server:
        assert _codes(_ask(server, 9, **PRICES)) == {"ok": 9}
    assert caplog.text.count("more than the most that was expected") == 1


def test_with_its_bound_raised_the_run_goes_on() -> None:
    with PlainServer(lambda request: _completion(usage={"prompt_tokens": 9000, "completion_tokens": 5})) as server:
        with pytest.raises(OverBound):
            _ask(server, 20, budget_usd=0.5, concurrency=1, **PRICES)
        assert _codes(_ask(server, 20, budget_usd=3.5, max_hidden_tokens=9000, **PRICES)) == {"ok": 20}
        assert len(server.seen) == 20


def test_a_request_that_waited_for_the_budget_is_not_sent_after_an_error_of_the_stage() -> None:
    with PlainServer(lambda request: _error(401, "no")) as server:
        with pytest.raises(EndpointError, match="key is not accepted"):
            _ask(server, 8, budget_usd=0.012, **PRICES)
        assert len(server.seen) == 1
    assert Budget(Path("results/run/budget"), 0.012).used() == pytest.approx(0.0)


# --- Waits and time-outs ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "86400"}, 86400.0), ({"retry-after": "inf"}, None), ({"retry-after": "nan"}, None),
        ({"retry-after": "1e300"}, 1e300), ({"retry-after": "1e999"}, None), ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:28:30 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 1999 07:28:00 GMT"}, 0.0), ({"retry-after": "Wed, 99 Oct 2026 07:28:00"}, None),
    ],
)  # fmt: skip
def test_retry_after_of_any_form(headers: dict[str, str], seconds: float | None) -> None:
    assert throttle.retry_after_s(headers) == seconds


def test_a_pause_has_a_cap_and_a_line(caplog: pytest.LogCaptureFixture) -> None:
    assert [throttle.capped_s(seconds) for seconds in (0.5, 86400.0, 1e300)] == [0.5, 300.0, 300.0]
    assert throttle.duration_s("999h") == 999 * 3600 and throttle.duration_s("9" * 400 + "h") == 0.0
    assert caplog.text.count("asks for a pause") == 2


def test_a_server_that_asks_for_a_day_is_asked_again_after_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "LONGEST_PAUSE_S", 0.05)
    waits = [{"retry-after": "86400"}, {"retry-after": "1e300"}]
    limited = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "999h"}

    def reply(request: Body) -> Reply:
        return (429, "{}", waits.pop()) if waits else (200, _completion()[1], limited)

    with PlainServer(reply) as server:
        assert _codes(_ask(server, 3, retries=3)) == {"ok": 3}


def test_a_server_that_answers_nothing_in_time_stops_the_stage_early(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    with PlainServer(lambda request: (release.wait(20), _completion())[1]) as server:
        with pytest.raises(EndpointError, match=r"none of the first 6 requests .*timeout_s=1 seconds: raise"):
            _ask(server, 50, timeout_s=1, retries=5)
        release.set()
        assert len(server.seen) <= 12
    assert "timeout 1" in caplog.text


def test_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with PlainServer(lambda request: _error(500, "no") if _number(request) < 3 else _completion()) as server:
        _ask(server, 10, retries=1)
    assert "16 requests were answered" not in caplog.text and "http-500 6" in caplog.text


# --- A full disk ------------------------------------------------------------------------------------------------------
def _small_disk(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """A disk of so many bytes, of which the files of the store are all."""
    real: Callable[..., None] = files.write_all

    def write_all(file: Any, data: bytes) -> None:
        used = sum(path.stat().st_size for path in Path("results/replies").glob("*"))
        if used + len(data) > size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file, data)

    monkeypatch.setattr(files, "write_all", write_all)


def test_on_a_full_disk_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    _small_disk(monkeypatch, 1000)
    with PlainServer(lambda request: _completion()) as server:
        with pytest.raises(DiskFullError):
            _ask(server, 10)
        assert not server.seen


def test_of_a_disk_that_runs_full_every_reply_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    _small_disk(monkeypatch, sending.LEAST_ROOM + 10_000)
    with PlainServer(lambda request: _completion()) as server:
        with pytest.raises(DiskFullError):
            _ask(server, 200, concurrency=16)
        assert 20 < len(server.seen) < 100
        assert spending(_events(), "run").replies == len(server.seen)
        assert not list(Path("results/replies").glob(".room*"))


def test_when_one_write_fails_every_reply_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., None] = files.write_all
    failures = [OSError(errno.EIO, os.strerror(errno.EIO))]

    def write_all(file: Any, data: bytes) -> None:
        if Path(file.name).parent.name == "replies" and b"reply" in data and failures:
            raise failures.pop()
        real(file, data)

    monkeypatch.setattr(files, "write_all", write_all)
    with PlainServer(lambda request: _completion()) as server:
        with pytest.raises(OSError, match="Input/output error"):
            _ask(server, 20)
        assert not failures and spending(_events(), "run").replies == len(server.seen) > 0


# --- Two runs on one store --------------------------------------------------------------------------------------------
def test_equal_shards_of_two_runs_that_share_the_store_are_paid_once() -> None:
    def slow(request: Body) -> Reply:
        time.sleep(0.05)
        return _completion()

    with PlainServer(slow) as server, ThreadPoolExecutor(2) as both:
        results = list(both.map(lambda run: _ask(server, 12, run=run), ["one", "two"]))
        assert results[0] == results[1] and _codes(results[0]) == {"ok": 12}
        assert len(server.seen) == 12


def test_a_connection_that_is_reset_is_named_by_its_kind() -> None:
    """The error of a reset has no words."""

    def reset() -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.recv(1)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=reset, daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        with pytest.raises(EndpointError, match="ReadError"):
            list(summarize([Group(1, (1, 2), ("A dog.", "A beach."))], PROMPT, _config(address), Path("results/run")))
