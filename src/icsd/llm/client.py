"""The `openai` provider: any endpoint with OpenAI's chat completions.

A request that fails with a timeout, a lost connection or a status such as 429 or 500 is sent again after a pause
(`_send_with_retries`); a 429 also lowers the number of requests at once (`throttle`). The key is read from its
environment variable when the client is created, and is redacted in all that is stored of the server's words.
"""

import asyncio
import logging
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import openai

from icsd.core.errors import ICSDError
from icsd.llm.budget import OutOfBudget, Prices, Reservation
from icsd.llm.cache import CacheWriter, Event
from icsd.llm.endpoint import NO_KEY, Access, Endpoint, is_fatal, is_retryable, read_response, request_body
from icsd.llm.request import Failure, Outcome, Receive, Request, Response
from icsd.llm.throttle import Throttle, rate_limit_reset_s, retry_after_s

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
OVERLOAD_CODES = frozenset(("http-429", "http-503", "http-529"))  # the server wants fewer requests
_log = logging.getLogger(__name__)


def complete_requests(
    requests: Iterable[Request],
    endpoint: Endpoint,
    prices: Prices,
    reservation: Reservation,
    segment: CacheWriter,
    receive: Receive,
) -> None:
    """Send the requests, up to `concurrency` at once, and call `receive` with each one's outcome.

    Each request sent is an event in `segment`, durable before `receive` is called. A request that fails after the
    retries is a Failure. EndpointError (a refused key, an unknown model or address, nobody listening) and OutOfBudget
    end the stage after the requests under way, so that their responses are stored. ConfigError without a key.
    """
    access = Access.to(endpoint)
    asyncio.run(_Requester(access, prices, reservation, _EventQueue(segment), receive).run(requests))


@dataclass(frozen=True)
class _Attempt:
    """The result of sending a request once."""

    outcome: Outcome
    retry: bool = False  # sent again, it may succeed
    cost_known: bool = True  # a server may have charged for a response that was lost
    retry_after_s: float | None = None


class _EventQueue:
    """Events to be stored, many with one write."""

    def __init__(self, segment: CacheWriter) -> None:
        self._segment = segment
        self._waiting: list[Event] = []
        self._writing = asyncio.Lock()

    def add(self, key: str, outcome: Outcome, usd: float) -> None:
        """Add an event; the next flush stores it."""
        self._waiting.append(self._segment.event(key, outcome, usd))

    async def flush(self) -> None:
        """Return when all added events are durable."""
        async with self._writing:  # while one task writes, others add, and the next one writes for all of them
            events, self._waiting = self._waiting, []
            if events:
                await asyncio.to_thread(self._segment.append, events)


class _Requester:
    """Sends all requests with one client, in one event loop."""

    def __init__(
        self, access: Access, prices: Prices, reservation: Reservation, queue: _EventQueue, receive: Receive
    ) -> None:
        self._access, self._endpoint = access, access.endpoint
        self._prices, self._reservation, self._queue, self._receive = prices, reservation, queue, receive
        self._throttle = Throttle(self._endpoint.concurrency)
        self._client = openai.AsyncOpenAI(
            api_key=access.secret or NO_KEY,
            base_url=self._endpoint.base_url,
            timeout=self._endpoint.timeout_s,
            max_retries=0,  # this module retries, because each request sent is an event
        )
        self._structured = self._endpoint.structured_output
        self._answered = False
        self._reserved_requests, self._released = 0, asyncio.Event()
        self._fatal_error: ICSDError | None = None

    async def run(self, requests: Iterable[Request]) -> None:
        """Send all requests; raise the error that ended the stage."""
        todo = iter(requests)
        async with self._client, asyncio.TaskGroup() as workers:
            # twice as many as may be under way: a request that waits for its retry holds up no other
            for _ in range(2 * self._endpoint.concurrency):
                workers.create_task(self._work(todo))
        await self._queue.flush()
        if self._fatal_error:
            raise self._fatal_error

    async def _work(self, todo: Iterator[Request]) -> None:
        try:
            for request in todo:
                if self._fatal_error:
                    return
                self._receive(request, await self._send_with_retries(request))
        except ICSDError as error:
            self._fatal_error = self._fatal_error or error

    async def _send_with_retries(self, request: Request) -> Outcome:
        """The response, or the failure of the last retry."""
        most_usd = self._prices.cost(request.most_prompt_tokens, request.sampling.max_tokens)
        for tries in range(1, self._endpoint.retries + 2):
            attempt = await self._try_once(request, most_usd)
            if not attempt.retry or tries > self._endpoint.retries:
                break
            await asyncio.sleep(_backoff_s(tries, attempt.retry_after_s))
        await self._queue.flush()
        if isinstance(attempt.outcome, Failure) and attempt.outcome.code == "connection" and not self._answered:
            raise self._access.unreachable(attempt.outcome.detail)
        return attempt.outcome

    async def _try_once(self, request: Request, most_usd: float) -> _Attempt:
        async with self._throttle.slot() as sent_at:
            if self._fatal_error:
                raise self._fatal_error
            await self._reserve(most_usd)
            attempt, usd = _Attempt(Failure("not-sent")), 0.0
            try:
                attempt = await self._send(request)
                usd = self._usd(attempt, most_usd)
            finally:
                self._release(most_usd - usd)
                self._queue.add(request.key, attempt.outcome, usd)
        if isinstance(attempt.outcome, Response):
            self._throttle.succeeded()
        elif attempt.outcome.code in OVERLOAD_CODES:
            self._throttle.refused(sent_at, attempt.retry_after_s)
        elif attempt.outcome.code == "timeout":
            self._throttle.timed_out(sent_at)
        return attempt

    async def _reserve(self, usd: float) -> None:
        """Reserve the highest cost, if needed after requests under way have released theirs; else OutOfBudget."""
        while True:
            try:
                self._reservation.reserve(usd)
            except OutOfBudget:
                if not self._reserved_requests:
                    raise
                self._released.clear()
                await self._released.wait()
            else:
                self._reserved_requests += 1
                return

    def _release(self, usd: float) -> None:
        self._reserved_requests -= 1
        self._reservation.release(usd)
        self._released.set()

    def _usd(self, attempt: _Attempt, most_usd: float) -> float:
        if not attempt.cost_known:
            return most_usd
        if isinstance(attempt.outcome, Failure):
            return 0.0
        prompt, completion = attempt.outcome.prompt_tokens, attempt.outcome.completion_tokens
        return most_usd if prompt is None or completion is None else self._prices.cost(prompt, completion)

    async def _send(self, request: Request) -> _Attempt:
        """Send one request. EndpointError if every other request would fail too."""
        structured = self._structured
        try:
            # httpx limits the time between two bytes; a response that never ends needs a limit for the whole
            async with asyncio.timeout(self._endpoint.timeout_s):
                raw = await self._client.chat.completions.with_raw_response.create(**request_body(request, structured))
                completion = raw.parse()
        except (TimeoutError, openai.APITimeoutError):
            late = Failure("timeout", f"no answer within {self._endpoint.timeout_s:g} s")
            return _Attempt(late, retry=True, cost_known=False)
        except openai.APIConnectionError as error:
            cut = Failure("connection", self._access.redacted(str(error.__cause__ or error)))
            return _Attempt(cut, retry=True, cost_known=False)
        except openai.APIStatusError as error:
            return self._refused(error, request, structured)
        except (openai.OpenAIError, ValueError) as error:
            return self._unreadable(f"{type(error).__name__}: {error}")
        self._answered = True
        self._throttle.pause(rate_limit_reset_s(raw.headers))
        reply = read_response(completion)
        return _Attempt(reply) if reply else self._unreadable("the reply is no chat completion")

    def _unreadable(self, what: str) -> _Attempt:
        return _Attempt(Failure("unreadable-reply", self._access.redacted(what)), retry=True, cost_known=False)

    def _refused(self, error: openai.APIStatusError, request: Request, structured: bool) -> _Attempt:
        """Handle an HTTP error: raise if it is fatal, else return whether to retry."""
        self._answered = True
        status, text = error.status_code, self._access.redacted(error.message)
        if is_fatal(error):
            raise self._access.refusal(status, error.code, request.sampling.model) from None
        if status == 400 and structured and "response_format" in error.message:
            if self._structured:
                _log.info("summaries: the server takes no JSON schema; answers are checked here alone")
            self._structured = False
            return _Attempt(Failure(f"http-{status}", text), retry=True, retry_after_s=0.0)
        wait_s = retry_after_s(error.response.headers)
        return _Attempt(Failure(f"http-{status}", text), is_retryable(status), retry_after_s=wait_s)


def _backoff_s(tries: int, asked_s: float | None) -> float:
    """Seconds before a retry: those that the server named, else twice as long each time, with jitter."""
    if asked_s is not None:
        return asked_s
    return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.0)
