"""The cache of responses, the budget that jobs share, and the throttle of requests."""

import asyncio
import errno
import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

from icsd.llm.budget import Budget, OutOfBudget, Prices, Reservation
from icsd.llm.cache import ResponseCache, spending
from icsd.llm.request import Failure, Request, Response, Sampling
from icsd.llm.throttle import Throttle, duration_s, rate_limit_reset_s, retry_after_s

OLD_STORES = Path(__file__).parents[2] / "support/old_stores"
REPLY = Response('{"index": [1], "summary": "A dog."}', None, "stop", 11, 7)


def _request(text: str = "One.", model: str = "m", temperature: float | None = 0.0) -> Request:
    return Request(Sampling(model, temperature, 500), ({"role": "user", "content": text},), {"type": "object"})


# --- Requests ---------------------------------------------------------------------------------------------------------
def test_the_key_is_of_all_that_determines_the_reply() -> None:
    requests = [
        _request(), _request("Two."), _request(model="n"), _request(temperature=None),
        Request(Sampling("m", 0.0, 400), _request().messages, {"type": "object"}),
        Request(Sampling("m", 0.0, 500), _request().messages, {"type": "array"}),
        _request().repaired("What?", "not-json"),
    ]  # fmt: skip
    assert len({request.key for request in requests}) == len(requests)
    assert _request().key == _request().key and len(_request().key) == 64


def test_no_text_has_more_tokens_than_the_bound() -> None:
    assert _request("ä" * 100).most_prompt_tokens >= 200


# --- Cache ------------------------------------------------------------------------------------------------------------
def test_responses_cached_before_the_stores_were_one_are_found(tmp_path: Path) -> None:
    shutil.copytree(OLD_STORES / "replies", tmp_path, dirs_exist_ok=True)
    cache, keys = ResponseCache(tmp_path), [_request(text).key for text in ("One.", "Two.", "Three.", "Four.")]
    old = {keys[0]: REPLY, keys[1]: Response("ä\n", prompt_tokens=3)}
    assert cache.find(keys) == old  # the line of the third is cut
    with cache.writer(run="new") as segment:
        segment.append([segment.event(key, Response("new"), 0.5) for key in keys])
    assert cache.find(keys) == {key: Response("new") for key in keys} | old
    assert [spending(cache.events(), run).usd for run in ("old", "new")] == [0.75, 2.0]
    spent = spending(cache.events(), "old")
    assert (spent.requests, spent.replies, spent.prompt_tokens, spent.completion_tokens) == (3, 2, 14, 7)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_an_old_line_that_a_kill_left_unfinished_is_no_event(tmp_path: Path, cut: int) -> None:
    (old,) = (OLD_STORES / "replies").iterdir()
    whole = b"".join(old.read_bytes().splitlines(keepends=True)[:3])
    (tmp_path / old.name).write_bytes(whole[:-cut])
    assert len(list(ResponseCache(tmp_path).events())) == 2
    assert ResponseCache(tmp_path).find([_request(text).key for text in ("One.", "Two.")]) == {
        _request("One.").key: REPLY
    }


def test_a_response_is_found_by_every_reader_of_the_folder(tmp_path: Path) -> None:
    store, first, second = ResponseCache(tmp_path / "replies"), _request("One."), _request("Two.")
    assert store.find([first.key]) == {} and list(store.events()) == []
    with store.writer(run="a", provider="openai") as one, store.writer(run="b", provider="openai") as other:
        one.append([one.event(first.key, REPLY, 0.5), one.event(second.key, Failure("http-500"), 0.0)])
        other.append([other.event(second.key, Response("Hm.", prompt_tokens=3), 0.25)])
        assert store.find([first.key, second.key, "0" * 64]) == {
            first.key: REPLY,
            second.key: Response("Hm.", None, None, 3),
        }
    assert len(list((tmp_path / "replies").iterdir())) == 2
    of_a, of_b = (spending(store.events(), run) for run in "ab")
    assert (of_a.requests, of_a.replies, of_a.prompt_tokens, of_a.completion_tokens, of_a.usd) == (2, 1, 11, 7, 0.5)
    assert (of_b.requests, of_b.replies, of_b.prompt_tokens, of_b.usd) == (1, 1, 3, 0.25)


def test_without_events_there_is_no_file(tmp_path: Path) -> None:
    with ResponseCache(tmp_path / "replies").writer(run="a") as segment:
        segment.append([])
    assert not (tmp_path / "replies").exists()


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_an_event_that_a_kill_left_unfinished_is_no_response(tmp_path: Path, cut: int) -> None:
    store, keys = ResponseCache(tmp_path), [_request(str(n)).key for n in range(3)]
    with store.writer(run="a") as segment:
        segment.append([segment.event(key, REPLY, 0.0) for key in keys])
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    with store.writer(run="a") as segment:
        segment.append([segment.event(keys[2], Response("later"), 0.0)])
    assert store.find(keys) == {keys[0]: REPLY, keys[1]: REPLY, keys[2]: Response("later")}
    assert len(list(store.events())) == 3


def test_any_text_of_a_model_is_read_back(tmp_path: Path) -> None:
    store, reply = ResponseCache(tmp_path), Response('a\nb\r\u2028 \U0001f436 \x00 "key"')
    with store.writer(run="a") as segment:
        segment.append([segment.event(_request().key, reply, 0.0)])
    assert store.find([_request().key]) == {_request().key: reply}


# --- Budget -----------------------------------------------------------------------------------------------------------
def _spend(folder: Path, ceiling: float, spent: "multiprocessing.Queue[int]") -> None:
    """Buys things of 0.01 until no more is left."""
    bought = 0
    with Reservation(Budget(folder, ceiling)) as reservation:
        try:
            while True:
                reservation.reserve(0.01)
                bought += 1
        except OutOfBudget:
            spent.put(bought)


@pytest.mark.parametrize("links", [True, False])
def test_jobs_that_spend_at_once_never_pass_the_ceiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as of a file system without hard links

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    context = multiprocessing.get_context("fork")
    spent: multiprocessing.Queue[int] = context.Queue()
    jobs = [context.Process(target=_spend, args=(tmp_path, 3.0, spent)) for _ in range(6)]
    for job in jobs:
        job.start()
    bought = sum(spent.get(timeout=60) for _ in jobs)
    for job in jobs:
        job.join()
    assert 280 <= bought <= 300  # the last cents may lie in a reservation that another job cannot reach
    assert Budget(tmp_path, 3.0).used() == pytest.approx(bought / 100)
    assert not list(tmp_path.glob(".*")) and all(path.is_file() == links for path in tmp_path.iterdir())


def test_what_is_not_spent_is_given_back(tmp_path: Path) -> None:
    budget = Budget(tmp_path / "budget", 1.0)
    with Reservation(budget) as reservation:
        reservation.reserve(0.2)
        reservation.release(0.15)
    assert budget.used() == pytest.approx(0.05)
    with (
        Reservation(budget) as reservation,
        pytest.raises(OutOfBudget, match=r"budget_usd=1 is used up: 0.95\d* USD are left"),
    ):
        reservation.reserve(0.96)


def test_what_was_spent_without_a_reservation_counts_when_the_ceiling_is_raised(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 1.0)
    budget.charge(0.75)
    assert Budget(tmp_path, 1.0).used() == 0.75
    budget.charge(1.5)
    budget.charge(0.0)
    with pytest.raises(OutOfBudget, match=r"budget_usd=1 is used up: 0\.000000 USD are left"):
        budget.reserve(0.01)
    with pytest.raises(OutOfBudget, match=r"budget_usd=2\.5 is used up: 0\.250000 USD are left"):
        Budget(tmp_path, 2.5).reserve(0.5)
    assert len(list(tmp_path.iterdir())) == 2


def test_without_a_ceiling_there_are_no_entries(tmp_path: Path) -> None:
    with Reservation(Budget(tmp_path / "budget", None)) as reservation:
        reservation.reserve(1e6)
    assert not (tmp_path / "budget").exists()


def test_prices_are_for_a_million_tokens() -> None:
    assert Prices(0.15, 0.60).cost(1_000_000, 500_000) == pytest.approx(0.45)


# --- Throttle ---------------------------------------------------------------------------------------------------------
def test_the_limit_doubles_until_a_refusal_then_halves_and_grows_by_one() -> None:
    async def run() -> None:
        throttle = Throttle(64)
        assert throttle.limit == 32
        for _ in range(16):
            throttle.succeeded()
        assert throttle.limit == 48
        for _ in range(100):
            throttle.succeeded()
        assert throttle.limit == 64
        now = asyncio.get_running_loop().time()
        throttle.refused(now, None)
        throttle.refused(now - 1, None)  # sent before the cut: the same overload
        assert throttle.limit == 32
        for _ in range(32):
            throttle.succeeded()
        assert 32.9 < throttle.limit < 33.1
        for _ in range(50):
            await asyncio.sleep(0.001)
            throttle.refused(asyncio.get_running_loop().time(), None)
        assert throttle.limit == 1

    asyncio.run(run())


def test_a_time_out_now_and_then_changes_nothing_and_many_halve_the_limit_once_a_round_trip() -> None:
    async def run() -> None:
        throttle, now = Throttle(64), asyncio.get_running_loop().time()
        for _ in range(10):
            for _ in range(40):
                throttle.succeeded()
            throttle.timed_out(now)
        assert throttle.limit == 64
        for _ in range(32):
            throttle.timed_out(now)
        assert throttle.limit == 32
        await asyncio.sleep(0.001)
        throttle.timed_out(asyncio.get_running_loop().time())
        assert throttle.limit == 16

    asyncio.run(run())


def test_no_more_than_the_limit_are_under_way_and_all_come_to_an_end() -> None:
    async def run() -> None:
        throttle, most = Throttle(5), 0

        async def one() -> None:
            nonlocal most
            async with throttle.slot():
                most = max(most, throttle.under_way)
                await asyncio.sleep(0.002)

        await asyncio.gather(*(one() for _ in range(60)))
        assert most == 5 and throttle.under_way == 0

    asyncio.run(run())


def test_nothing_is_sent_before_the_server_says_so() -> None:
    async def run() -> float:
        throttle = Throttle(5)
        loop = asyncio.get_running_loop()
        start = loop.time()
        throttle.refused(start, 0.2)
        async with throttle.slot() as sent_at:
            return sent_at - start

    assert asyncio.run(run()) >= 0.2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "2"}, 2.0), ({"retry-after-ms": "250", "retry-after": "9"}, 0.25), ({}, None),
     ({"retry-after": "-3"}, 0.0)],
)  # fmt: skip
def test_retry_after_in_seconds_and_milliseconds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_an_exhausted_limit_says_for_how_long() -> None:
    assert duration_s("6m0s") == 360 and duration_s("20ms") == pytest.approx(0.02) and duration_s("1h2s") == 3602
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1.5s"}
    assert rate_limit_reset_s(headers) == 1.5
    assert rate_limit_reset_s(headers | {"x-ratelimit-remaining-requests": "7"}) == 0.0
    assert rate_limit_reset_s({}) == 0.0


def test_an_entry_of_the_budget_is_plain_json(tmp_path: Path) -> None:
    Budget(tmp_path, 1.0).reserve(0.5)
    assert json.loads((tmp_path / "000000.json").read_text()) == {"usd": 0.5}
