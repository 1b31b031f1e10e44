import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import chat_behaviours
import openai
import pytest
from chat_behaviours import Body, Kind, Problem
from chat_server import OK, Behaviour, ChatServer, always, digest, status

from icsd.config import BatchConfig, SummariesConfig
from icsd.core.errors import ConfigError, InputError
from icsd.llm import client, throttle
from icsd.llm.batch import requester
from icsd.llm.batch import server as batch_server
from icsd.llm.batch.ledger import BatchLedger, BatchRecord, BatchRecords
from icsd.llm.batch.server import batch_line
from icsd.llm.budget import BATCH_PRICE, Budget, OutOfBudget, OverBound, Prices, Reservation
from icsd.llm.cache import ResponseCache, spending
from icsd.llm.client import request_body
from icsd.llm.endpoint import Access, Endpoint, EndpointError
from icsd.llm.parameters import Parameters
from icsd.llm.request import Failure, Outcome, Request, Response, Sampling
from icsd.stages.summaries.answers import Rules
from icsd.stages.summaries.prompts import Prompt
from icsd.stages.summaries.providers import model_name, summarize
from icsd.stages.summaries.quality import Group

KEY = "sk-secret-0123456789"
VARIABLE = "ICSD_TEST_KEY"
PRICES = Prices(100.0, 1000.0)  # USD a million: a request's tokens cost thousandths
SCHEMA = {"type": "object", "properties": {"summary": {"type": "string"}}}
Outcomes = dict[str, Outcome]


class _KilledError(BaseException):
    """A killed process, simulated by an exception."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setattr(throttle, "FIRST_BACKOFF_S", 0.0)
    return tmp_path


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(key=KEY) as running:
        yield running


def _requests(*numbers: int) -> list[Request]:
    sampling = Sampling("m", 0.0, 100)
    texts = [f"<1> A dog, number {number}.\n<2> A beach." for number in numbers]
    return [Request(sampling, ({"role": "user", "content": text},), SCHEMA) for text in texts]


def _bodies(requests: Sequence[Request]) -> list[str]:
    return [digest(request_body(request, Parameters())) for request in requests]


def _endpoint(url: str, **changes: Any) -> Endpoint:
    return replace(Endpoint(url, VARIABLE, 5.0, 2, 4, structured_output=True), **changes)


def _ask(
    server: ChatServer,
    requests: Sequence[Request],
    run: str = "run",
    budget_usd: float | None = None,
    endpoint: Endpoint | None = None,
    **settings: Any,
) -> Outcomes:
    """One job, and what it received."""
    store, received = ResponseCache(Path("replies")), Outcomes()
    reservation = Reservation(Budget(Path(run) / "budget", budget_usd))

    def receive(request: Request, outcome: Outcome) -> None:
        assert request.key not in received
        received[request.key] = outcome

    with store.writer(run=run, provider="openai-batch", model="m") as segment, reservation:
        ledger = BatchLedger(PRICES, reservation, store, segment, run)
        limits = BatchConfig(**{"poll_s": 0.01, **settings})
        requester.complete_requests(requests, endpoint or _endpoint(server.url), limits, ledger, receive)
    return received


def _events() -> list[dict[str, Any]]:
    return [dict(event) for event in ResponseCache(Path("replies")).events()]


def _open_records() -> list[BatchRecord]:
    return BatchRecords(Path("replies/batches")).read()


def _codes(outcomes: Outcomes) -> list[str]:
    return [outcome.code if isinstance(outcome, Failure) else "reply" for outcome in outcomes.values()]


def _submitted(server: ChatServer) -> int:
    return server.calls.count("POST /v1/batches")


def _killed(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, calls: int = 1) -> None:
    """The job ends at that call of the method, before it does anything."""
    left, real = [calls], getattr(where, name)

    def method(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise _KilledError
        return real(*arguments, **named)

    monkeypatch.setattr(where, name, method)


def _first_try(bad: Behaviour, *indices: int) -> Callable[[int, int, Body], Behaviour]:
    """`bad` for the first arrival of the requests of these numbers."""
    marks = [f"number {index}." for index in indices]

    def script(number: int, attempt: int, body: Body) -> Behaviour:
        return bad if attempt == 0 and any(mark in body["messages"][0]["content"] for mark in marks) else OK

    return script


LINE = len(batch_line(_requests(0)[0], Parameters()))


@pytest.mark.parametrize(("limits", "batches"), [({"max_requests": 3}, 3), ({"max_bytes": 2 * LINE + 1}, 4), ({}, 1)])
def test_every_request_gets_the_reply_that_online_gives(
    server: ChatServer, limits: dict[str, int], batches: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    requests = _requests(*range(7))
    received = _ask(server, requests, **limits)
    assert _codes(received) == ["reply"] * 7
    assert sorted(server.batches.batched) == sorted(_bodies(requests)) and _submitted(server) == batches
    online = Outcomes()
    with ResponseCache(Path("other")).writer() as segment:
        reservation = Reservation(Budget(Path("b"), None))

        def receive(request: Request, outcome: Outcome) -> None:
            online[request.key] = outcome

        client.complete_requests(requests, _endpoint(server.url), PRICES, reservation, segment, receive)
    assert received == online == ResponseCache(Path("replies")).find({request.key for request in requests})
    assert f"batches: {batches} submitted, {batches} done, 0 requests to go" in caplog.text
    assert not _open_records() and {event["batch"] for event in _events()} == set(server.batches._jobs)


def test_the_price_is_half(server: ChatServer) -> None:
    received = _ask(server, _requests(1, 2), budget_usd=1.0)
    tokens = [(r.prompt_tokens, r.completion_tokens) for r in received.values() if isinstance(r, Response)]
    usd = sum(PRICES.cost(prompt or 0, completion or 0) for prompt, completion in tokens) / 2
    spent = spending(_events(), "run")
    assert spent.usd == pytest.approx(usd) and usd > 0 and spent.requests == spent.replies == 2
    assert Budget(Path("run/budget"), 1.0).used() == pytest.approx(usd)


def test_batches_keep_within_the_window(server: ChatServer) -> None:
    requests = _requests(*range(6))
    one = requester._tokens(requests[0])
    words = sum(len(message["content"].split()) for message in requests[0].messages)
    server.batches.enqueued_tokens = 2 * words  # a third request beside two would be refused
    assert len(_ask(server, requests, enqueued_tokens=2 * one)) == 6
    assert [job.batch["status"] for job in server.batches._jobs.values()] == ["completed"] * 3


def test_a_batch_that_finds_no_room_is_submitted_later(server: ChatServer, caplog: pytest.LogCaptureFixture) -> None:
    server.batches.ends = ("completed", "token-limit")
    assert _codes(_ask(server, _requests(*range(4)), max_requests=2)) == ["reply"] * 4
    assert [job.batch["status"] for job in server.batches._jobs.values()] == ["completed", "failed", "completed"]
    assert "no room" in caplog.text and spending(_events(), "run").requests == 4


def test_a_batch_that_is_too_large_for_the_account_is_cut(server: ChatServer) -> None:
    server.batches.enqueued_tokens = 20  # two requests' words
    assert _codes(_ask(server, _requests(*range(8)))) == ["reply"] * 8
    assert len(server.batches._jobs) > 4 and len(_events()) == 8


def test_failed_lines_alone_are_sent_again(server: ChatServer) -> None:
    server.batches.script = _first_try(status(500), 1, 3)
    requests = _requests(*range(5))
    received = _ask(server, requests)
    assert all(isinstance(outcome, Response) for outcome in received.values()) and len(received) == 5
    sent = Counter(server.batches.batched)
    assert [sent[body] for body in _bodies(requests)] == [1, 2, 1, 2, 1] and _submitted(server) == 2
    assert spending(_events(), "run").requests == 7


@pytest.mark.parametrize(
    ("bad", "code", "times"),
    [
        (status(500), "http-500", 3),
        (status(400), "http-400", 2),  # once more without the schema
        (Behaviour(Kind.MISSING), "missing-line", 3),
    ],
    ids=["500", "400", "missing"],
)
def test_what_fails_to_the_end_is_a_failure(server: ChatServer, bad: Behaviour, code: str, times: int) -> None:
    server.batches.script = always(bad)
    [outcome] = _ask(server, _requests(1), budget_usd=1.0).values()
    assert isinstance(outcome, Failure) and outcome.code == code
    assert _submitted(server) == times == spending(_events(), "run").requests
    # whether a missing line was paid for is not known: it counts as the most that it can cost
    assert (Budget(Path("run/budget"), 1.0).used() > 0) == (code == "missing-line")


def test_a_missing_line_is_sent_again(server: ChatServer) -> None:
    server.batches.script = _first_try(Behaviour(Kind.MISSING), 2)
    assert sorted(_codes(_ask(server, _requests(1, 2, 3)))) == ["reply"] * 3
    assert len(server.batches.batched) == 4


def test_the_finished_half_of_an_expired_batch_is_stored(server: ChatServer) -> None:
    server.batches.ends = ("expired",)
    assert _codes(_ask(server, _requests(*range(6)))) == ["reply"] * 6
    assert len(server.batches.batched) == 9
    assert Counter(event.get("failed", "reply") for event in _events()) == {"reply": 6, "batch_expired": 3}


def test_a_batch_that_fails_validation_ends_the_stage_with_one_message(server: ChatServer) -> None:
    server.batches.ends = ("failed",)
    with pytest.raises(
        EndpointError, match=r"batch batch_\d+ failed \(invalid_json_line: .*run snakemake again"
    ) as error:
        _ask(server, _requests(1, 2), budget_usd=1.0)
    assert error.value.__suppress_context__ or error.value.__context__ is None
    assert not _open_records() and Budget(Path("run/budget"), 1.0).used() == pytest.approx(0.0)
    assert _codes(_ask(server, _requests(1, 2))) == ["reply"] * 2


def test_a_cancelled_batch_ends_the_stage_and_its_half_is_stored(server: ChatServer) -> None:
    server.batches.polls_per_stage = 3
    requests = _requests(*range(4))
    thread = threading.Thread(target=_cancel_first, args=(server,))
    thread.start()
    with pytest.raises(EndpointError, match="was cancelled"):
        _ask(server, requests)
    thread.join()
    kept = spending(_events(), "run").replies
    assert kept == 2 and _codes(_ask(server, requests)) == ["reply"] * 4
    assert len(server.batches.batched) == 6


def _cancel_first(server: ChatServer) -> None:
    while not any(job.batch["status"] == "in_progress" for job in list(server.batches._jobs.values())):
        time.sleep(0.001)
    server.batches.cancel(next(iter(server.batches._jobs)))


ODD_LINES = [
    b"[1]", b"7", b"null", b'"custom_id"', b"{", b"\xff", b"[" * 5000, b'{"custom_id": [1]}', b'{"custom_id": {}}',
    b'{"custom_id": "KEY"}', b'{"custom_id": "KEY", "response": [1]}', b'{"custom_id": "KEY", "error": [1]}',
    b'{"custom_id": "KEY", "error": {"code": {"a": 1}, "message": [2]}}', b'{"custom_id": "KEY", "response": {}}',
    b'{"custom_id": "KEY", "response": {"status_code": [1], "body": 3}}',
    b'{"custom_id": "KEY", "response": {"status_code": 500, "body": {"error": "no"}}}',
    *(
        b'{"custom_id": "KEY", "response": {"status_code": 200, "body": ' + body + b"}}"
        for body in (
            b"[1]", b"null", b'"x"', b"{}", b'{"self": 1, "choices": {}}', b'{"choices": [7]}',
            b'{"choices": [{"message": 5}]}', b'{"choices": [{"message": {"content": {"a": 1}}}]}',
            b'{"choices": [{"message": {"content": "A."}}], "usage": [1]}',
            b'{"choices": [{"message": {"content": "A."}}], "usage": {"prompt_tokens": -1e30}}',
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("line", ODD_LINES)
def test_an_odd_line_withholds_no_other(server: ChatServer, monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
    requests, real = _requests(1, 2, 3), batch_server.BatchServer._content

    def content(self: Any, file_id: str) -> bytes:
        lines = [each for each in real(self, file_id).splitlines() if requests[0].key.encode() not in each]
        return b"\n".join([lines[0], line.replace(b"KEY", requests[0].key.encode()), *lines[1:]])

    monkeypatch.setattr(batch_server.BatchServer, "_content", content)
    received = _ask(server, requests, endpoint=_endpoint(server.url, retries=0), budget_usd=1.0)
    assert len(received) == 3 and isinstance(received[requests[0].key], Failure | Response)
    assert all(isinstance(received[request.key], Response) for request in requests[1:])
    assert not _open_records() and 0 <= spending(_events(), "run").usd <= 1.0


def _lines_of_one(monkeypatch: pytest.MonkeyPatch, key: str, response: Any, *others: Body, error: Any = None) -> None:
    """The server says this of one request, and has `others` as further lines of it."""
    real = batch_server.BatchServer._content
    said = [{"response": response, "error": error}, *others]

    def content(self: Any, file_id: str) -> bytes:
        lines = [each for each in real(self, file_id).splitlines() if key.encode() not in each]
        return b"\n".join([*lines, *(json.dumps({"custom_id": key} | each).encode() for each in said)])

    monkeypatch.setattr(batch_server.BatchServer, "_content", content)


GOOD = {"status_code": 200, "body": {"choices": [{"message": {"content": "A."}}]}}


@pytest.mark.parametrize(
    ("error", "others"),
    [
        ({"code": "late", "message": "beside the reply"}, ()),
        (None, ({"error": {"code": "batch_expired"}}, {"response": {"status_code": 500, "body": {}}})),
    ],
)
def test_a_reply_in_a_line_is_kept_whatever_stands_beside_or_after_it(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, error: Any, others: tuple[Body, ...]
) -> None:
    [request] = _requests(1)
    _lines_of_one(monkeypatch, request.key, GOOD, *others, error=error)
    assert _ask(server, [request]) == {request.key: Response("A.")} and _submitted(server) == 1


@pytest.mark.parametrize("response", [[GOOD], "A.", None])
def test_a_response_of_another_type_may_have_been_paid_for(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, response: Any
) -> None:
    [request] = _requests(1)
    _lines_of_one(monkeypatch, request.key, response)
    received = _ask(server, [request], endpoint=_endpoint(server.url, retries=0), budget_usd=1.0)
    assert _codes(received) == ["unreadable-reply"] and Budget(Path("run/budget"), 1.0).used() > 0.05


@pytest.mark.parametrize("reply", ["<html>", [1], {}, {"id": None}, {"id": ""}, {"id": 7}])
def test_an_upload_whose_reply_names_no_file_makes_no_batch(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, reply: Any
) -> None:
    monkeypatch.setattr(server.batches, "upload", lambda *_: reply)
    with pytest.raises(EndpointError, match=r"cannot be understood \(UnreadableReply: the reply names no file\)"):
        _ask(server, _requests(1), budget_usd=1.0)
    assert not _submitted(server) and not _open_records()
    assert Budget(Path("run/budget"), 1.0).used() == pytest.approx(0.0)


def test_a_line_above_its_reservation_stops_the_stage_and_all_lines_are_kept(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, usage = _requests(1, 2, 3), {"prompt_tokens": 9, "completion_tokens": 90_000}
    body = {"choices": [{"message": {"content": "A."}}], "usage": usage}
    _lines_of_one(monkeypatch, requests[0].key, {"status_code": 200, "body": body})
    with pytest.raises(OverBound, match="90,000 of the answer"):
        _ask(server, requests, budget_usd=1.0)
    spent = spending(_events(), "run")
    assert spent.replies == 3 and spent.usd <= 1.0 < spent.over_usd
    assert Budget(Path("run/budget"), 1.0).used() == pytest.approx(spent.usd + spent.over_usd)


@pytest.mark.parametrize("later", [(7, 8), ()])
def test_an_earlier_jobs_line_above_its_reservation_stops_the_stage_before_it_sends(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, later: tuple[int, ...]
) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 90_000}
    body = {"choices": [{"message": {"content": "A."}}], "usage": usage}
    _lines_of_one(monkeypatch, _requests(1)[0].key, {"status_code": 200, "body": body})
    with monkeypatch.context() as patch, pytest.raises(_KilledError):
        _killed(patch, batch_server.BatchServer, "retrieve")
        _ask(server, _requests(1, 2), budget_usd=100.0)
    job = next(iter(server.batches._jobs.values()))
    while job.batch["status"] != "completed":
        server.batches._advance(job)
    with ResponseCache(Path("replies")).writer(run="run") as segment:  # one that is answered: nothing to send
        segment.append([segment.event(_requests(9)[0].key, Response("A."), 0.0)])
    with pytest.raises(OverBound, match="90,000 of the answer"):
        _ask(server, _requests(9, *later), budget_usd=100.0)
    assert _submitted(server) == 1 and not _open_records()
    spent = spending(_events(), "run")
    assert Budget(Path("run/budget"), 100.0).used() == pytest.approx(spent.usd + spent.over_usd)


def test_a_line_that_a_filter_refused_is_a_refusal_and_one_without_credit_stops_the_stage(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = _requests(1, 2)
    with monkeypatch.context() as patch:
        error = {"error": {"message": "filtered", "code": "content_filter"}}
        _lines_of_one(patch, requests[0].key, {"status_code": 400, "body": error})
        outcome = _ask(server, requests)[requests[0].key]
        assert isinstance(outcome, Response) and outcome.refusal == "filtered"
    requests, submitted = _requests(5), _submitted(server)
    with monkeypatch.context() as patch:
        body = {"error": {"message": "Content Exists Risk"}}
        _lines_of_one(patch, requests[0].key, {"status_code": 400, "body": body})
        assert _ask(server, requests) == {requests[0].key: Failure("http-400", "Content Exists Risk")}
    [event] = [event for event in _events() if event["key"] == requests[0].key]
    assert _submitted(server) == submitted + 1 and event["usd"] == 0.0
    requests = _requests(3, 4)
    error = {"error": {"message": "pay", "code": "insufficient_quota"}}
    _lines_of_one(monkeypatch, requests[0].key, {"status_code": 429, "body": error})
    with pytest.raises(EndpointError, match="no credit left"):
        _ask(server, requests)
    assert requests[1].key in ResponseCache(Path("replies")).find({requests[1].key})


def test_a_parameter_that_is_refused_is_renamed_in_the_next_batch(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = chat_behaviours.problem_of
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
    monkeypatch.setattr(
        chat_behaviours, "problem_of", lambda each: Problem(400, words) if each.status == 400 else real(each)
    )
    server.batches.script = lambda number, attempt, body: OK if "max_completion_tokens" in body else status(400)
    assert _codes(_ask(server, _requests(1, 2, 3))) == ["reply"] * 3 and _submitted(server) == 2


def test_a_status_that_nobody_knows_is_waited_for(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real, odd = batch_server.BatchServer.retrieve, ["paused", "in_queue"]

    def retrieve(self: Any, batch_id: str) -> Any:
        state = real(self, batch_id)
        return replace(state, status=odd.pop()) if odd else state

    monkeypatch.setattr(batch_server.BatchServer, "retrieve", retrieve)
    assert _codes(_ask(server, _requests(1, 2))) == ["reply"] * 2 and len(_events()) == 2


@pytest.mark.parametrize("files_have_names", [True, False])
def test_without_metadata_a_batch_is_found_by_its_file_or_may_be_paid_twice_and_says_so(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, files_have_names: bool
) -> None:
    with monkeypatch.context() as patch, pytest.raises(_KilledError):
        _killed(patch, BatchRecords, "write", calls=2)
        _ask(server, _requests(1, 2), budget_usd=1.0)
    for job in server.batches._jobs.values():
        job.batch["metadata"] = None
    if not files_have_names:
        server.batches._files.clear()
    assert _codes(_ask(server, _requests(1, 2), budget_usd=1.0)) == ["reply"] * 2
    assert _submitted(server) == (1 if files_have_names else 2) and not _open_records()
    used, spent = Budget(Path("run/budget"), 1.0).used(), spending(_events(), "run").usd
    assert ("cannot be known" in caplog.text) == (not files_have_names) == (used > 1.01 * spent)


def test_a_batch_of_another_tool_without_metadata_is_not_taken_for_a_lost_one(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2):
        _ask(server, _requests(number))
    other = _requests(3)
    with monkeypatch.context() as patch, pytest.raises(_KilledError):
        _killed(patch, batch_server.BatchServer, "create")
        _ask(server, other, budget_usd=1.0)
    first = next(iter(server.batches._jobs.values())).batch
    first["metadata"] = None
    del server.batches._files[first["input_file_id"]]
    assert _codes(_ask(server, other, budget_usd=1.0)) == ["reply"] and "cannot be known" not in caplog.text
    assert Budget(Path("run/budget"), 1.0).used() == pytest.approx(spending(_events()[-1:], "run").usd)


@pytest.mark.parametrize(("pages", "known"), [(2, False), (3, True)])
def test_a_list_of_batches_without_end_leaves_it_unknown_whether_there_is_one(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, pages: int, known: bool
) -> None:
    monkeypatch.setattr(batch_server, "MOST_PAGES", pages)
    page = server.batches.page
    monkeypatch.setattr(server.batches, "page", lambda limit, after: page(1, after))
    for number in range(3):
        _ask(server, _requests(number))
    with batch_server.BatchServer(Access.to(_endpoint(server.url)), "m") as client_:
        assert client_.find({"lost"}) == batch_server.Found({}, complete=known)


@pytest.mark.parametrize("content", ["", "[1]", '{"name": "a"}', '{"name": "a", "prices": 7}', "\xff"])
def test_a_damaged_record_of_a_batch_is_one_message(server: ChatServer, content: str) -> None:
    path = Path("replies/batches/a.json")
    path.parent.mkdir(parents=True)
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"batches/a\.json: is no record of a batch .*; move it away"):
        _ask(server, _requests(1))
    assert not server.batches.batched


def test_a_batch_that_a_living_job_creates_is_left_alone(server: ChatServer) -> None:
    ledger_records = BatchRecords(Path("replies/batches"))
    record = BatchRecord("name", "other", server.url, "m", PRICES, {"0" * 64: 0.5}, 9, at=0.0)  # of another clock
    with ledger_records.being_created(record):
        ledger_records.write(record)
        assert _codes(_ask(server, _requests(1))) == ["reply"] and _open_records() == [record]
    assert _codes(_ask(server, _requests(2))) == ["reply"] and _open_records() == []


def test_without_schema_where_the_server_takes_none(server: ChatServer) -> None:
    server.strict_schema = False
    assert _codes(_ask(server, _requests(1, 2))) == ["reply"] * 2
    assert _submitted(server) == 2


def test_a_crash_before_the_id_is_written_does_not_pay_twice(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = _requests(1, 2, 3)
    with monkeypatch.context() as patch, pytest.raises(_KilledError):
        _killed(patch, BatchRecords, "write", calls=2)
        _ask(server, requests, budget_usd=1.0)
    [record] = _open_records()
    assert record.batch is None and set(record.most_usd) == {request.key for request in requests}
    assert _codes(_ask(server, requests, budget_usd=1.0)) == ["reply"] * 3
    assert _submitted(server) == 1 and not _open_records()
    assert Budget(Path("run/budget"), 1.0).used() == pytest.approx(spending(_events(), "run").usd)


def test_a_crash_before_the_batch_is_created_loses_nothing(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(_KilledError):
        _killed(patch, batch_server.BatchServer, "create")
        _ask(server, _requests(1), budget_usd=1.0)
    assert _codes(_ask(server, _requests(1), budget_usd=1.0)) == ["reply"] and _submitted(server) == 1
    assert not _open_records()
    assert Budget(Path("run/budget"), 1.0).used() == pytest.approx(spending(_events(), "run").usd)


def test_a_lost_answer_to_create_makes_no_second_batch(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = openai.resources.Batches.create

    def create(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        raise openai.APIConnectionError(request=None)

    monkeypatch.setattr(openai.resources.Batches, "create", create)
    assert _codes(_ask(server, _requests(1))) == ["reply"] and _submitted(server) == 1


def test_a_later_run_collects_without_sending(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(_KilledError):
        _killed(patch, batch_server.BatchServer, "retrieve")
        _ask(server, _requests(*range(5)), max_requests=3, budget_usd=1.0)
    assert len(_open_records()) == 2 and all(record.batch for record in _open_records())
    server.batches.polls_per_stage = 1
    first = _requests(0)
    assert _codes(_ask(server, first, run="other")) == ["reply"]  # waits for the one batch, looks at the other
    assert _submitted(server) == 2 and len(_events()) == 3
    assert _codes(_ask(server, _requests(*range(5)), budget_usd=1.0)) == ["reply"] * 5
    assert _submitted(server) == 2 and not _open_records()
    assert spending(_events(), "run").requests == 5 and spending(_events(), "other").requests == 0


def test_finished_batches_of_other_jobs_are_stored(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(_KilledError):
        _killed(patch, batch_server.BatchServer, "retrieve")
        _ask(server, _requests(1, 2))
    server.batches._advance(job := next(iter(server.batches._jobs.values())))
    while job.batch["status"] != "completed":
        server.batches._advance(job)
    _ask(server, _requests(3))
    assert len(ResponseCache(Path("replies")).find({request.key for request in _requests(1, 2, 3)})) == 3


def test_two_jobs_wait_for_one_batch_and_it_counts_once(server: ChatServer) -> None:
    server.batches.polls_per_stage = 10
    requests, received = _requests(*range(4)), list[Outcomes]()
    job = lambda: received.append(_ask(server, requests, budget_usd=1.0))  # noqa: E731
    threads = [threading.Thread(target=job) for _ in range(2)]
    threads[0].start()
    while not (_open_records() and _open_records()[0].batch):
        time.sleep(0.005)
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert received[0] == received[1] and len(received[0]) == 4 and _submitted(server) == 1
    spent = spending(_events(), "run")
    assert spent.requests == 4 and Budget(Path("run/budget"), 1.0).used() == pytest.approx(spent.usd)


def test_collecting_twice_counts_once(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(_KilledError):  # between the replies and the end of the record
        _killed(patch, BatchRecords, "close")
        _ask(server, _requests(1, 2), budget_usd=1.0)
    assert len(_events()) == 2 and len(_open_records()) == 1
    assert _codes(_ask(server, _requests(3, 1), budget_usd=1.0)) == ["reply"] * 2
    spent = spending(_events(), "run")
    assert len(_events()) == 5 and spent.requests == 3
    assert Budget(Path("run/budget"), 1.0).used() == pytest.approx(spent.usd)


def test_a_batch_that_the_account_does_not_know_is_sent_again(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch, pytest.raises(_KilledError):
        _killed(patch, batch_server.BatchServer, "retrieve")
        _ask(server, _requests(1))
    server.batches.reset()
    assert _codes(_ask(server, _requests(1))) == ["reply"]
    assert "does not know the batch batch_0" in caplog.text


def test_a_batch_whose_file_is_gone_is_sent_again(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(_KilledError):
        _killed(patch, batch_server.BatchServer, "outcomes")
        _ask(server, _requests(1))
    server.batches._files.clear()
    assert _codes(_ask(server, _requests(1))) == ["reply"] and _submitted(server) == 2


def test_the_budget_is_never_exceeded_and_submitted_batches_are_stored(server: ChatServer) -> None:
    requests = _requests(*range(100))
    budget_usd = 6 * BATCH_PRICE * PRICES.cost(requests[0].most_prompt_tokens, 100)
    with pytest.raises(OutOfBudget, match=r"summaries\.budget_usd"):
        _ask(server, requests, budget_usd=budget_usd)
    spent, sizes = spending(_events(), "run"), [len(job.names) for job in server.batches._jobs.values()]
    # what a batch does not use up pays for the next one, until that is less than a twentieth of what there is to do
    assert sizes[0] == 6 and len(sizes) > 1 and min(sizes) == 5 and sum(sizes) == spent.requests == spent.replies
    assert spent.usd <= budget_usd and Budget(Path("run/budget"), budget_usd).used() == pytest.approx(spent.usd)
    _ask(server, requests, budget_usd=20 * budget_usd)
    assert sorted(server.batches.batched) == sorted(_bodies(requests))


def test_the_key_is_in_no_file_log_or_error(server: ChatServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.batches.ends = ("completed", "completed", "failed")
    server.batches.script = always(status(400))
    messages = str(_ask(server, _requests(1)))
    for problem in (lambda: None, lambda: setattr(server, "key", "another")):
        problem()
        with pytest.raises(EndpointError) as error:
            _ask(server, _requests(2))
        messages += f"{error.value!r} {error.value.__cause__}"
    assert f"environment variable {VARIABLE}" in messages and not _open_records()
    assert KEY not in messages + caplog.text
    files = [path.read_bytes() for path in Path().rglob("*") if path.is_file()]
    assert files and KEY.encode() not in b"".join(files)


def test_an_endpoint_without_batches_is_one_message(server: ChatServer) -> None:
    with pytest.raises(EndpointError, match=r"answers 404.*has no Batch API"):
        _ask(server, _requests(1), endpoint=_endpoint(server.url + "/elsewhere"))
    assert not _open_records()


def test_nobody_listening_is_one_message(server: ChatServer) -> None:
    with pytest.raises(EndpointError, match="cannot be reached"):
        _ask(server, _requests(1), endpoint=_endpoint("http://127.0.0.1:9/v1", retries=0))


def test_no_key_is_one_message(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(ConfigError, match=VARIABLE):
        _ask(server, _requests(1))
    assert _ask(server, []) == {} and server.calls == []


def test_the_batch_section_is_no_param() -> None:
    config = SummariesConfig(provider="openai-batch", batch={"poll_s": 1.0}, openai={"retries": 3})
    assert "batch" not in config.params() and config.llm_requests == 1
    assert config.params() == SummariesConfig(provider="openai-batch").params()


def test_the_config_names_the_provider(server: ChatServer) -> None:
    openai_settings = {"base_url": server.url, "model": "m", "api_key_env": VARIABLE}
    config = SummariesConfig(provider="openai-batch", openai=openai_settings, batch={"poll_s": 0.01}, store="replies")
    prompt = Prompt("{% for caption in captions %}\n<{{ loop.index }}> {{ caption }}\n{% endfor %}", Rules())
    groups = [Group(number, (1, 2), (f"A dog, number {number}.", "A beach.")) for number in range(3)]
    summaries = list(summarize(groups, prompt, config, Path("results/run")))
    assert len(summaries) == 3 and all(summary.prompt_tokens for summary in summaries)
    assert model_name(config) == "m" and {event["provider"] for event in _events()} == {"openai-batch"}
