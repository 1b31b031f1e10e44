"""Sending of requests to an endpoint, many at once: retries, budget and events. Chat and images share it.

A request that fails with a timeout, a lost connection or a status such as 429 or 500 is sent again after a pause
(`_send_with_retries`); a 429 also lowers the number of requests at once (`throttle`). The key is read from its
environment variable before the first request, and is redacted in all that is stored of the server's words.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic

import openai

from icsd.core.errors import ICSDError
from icsd.llm.budget import OutOfBudget, Reservation
from icsd.llm.endpoint import NO_KEY, Access, Endpoint, is_fatal, is_retryable
from icsd.llm.request import Failure
from icsd.llm.service import FORMAT, Attempt, Q, R, Segment, Service, unreadable
from icsd.llm.throttle import Throttle, rate_limit_reset_s, retry_after_s

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
OVERLOAD_CODES = frozenset(("http-429", "http-503", "http-529"))  # the server wants fewer requests
_log = logging.getLogger(__name__)


def send_requests(
    requests: Iterable[Q],
    service: Service[Q, R],
    endpoint: Endpoint,
    reservation: Reservation,
    segment: Segment[R],
    receive: Callable[[Q, R | Failure], None],
) -> None:
    """Send the requests, up to `concurrency` at once, and call `receive` with each one's outcome.

    Each request sent is an event in `segment`, durable before `receive` is called. A request that fails after the
    retries is a Failure. EndpointError (a refused key, an unknown model or address, nobody listening) and OutOfBudget
    end the stage after the requests under way, so that their responses are stored. ConfigError without a key.
    """
    access = Access.to(endpoint)
    asyncio.run(_Sender(access, service, reservation, _EventQueue(segment), receive).run(requests))


class _EventQueue(Generic[R]):
    """Events to be stored, many with one write."""

    def __init__(self, segment: Segment[R]) -> None:
        self._segment = segment
        self._waiting: list[Any] = []
        self._writing = asyncio.Lock()

    def add(self, key: str, outcome: R | Failure, usd: float) -> None:
        """Add an event; the next flush stores it."""
        self._waiting.append(self._segment.event(key, outcome, usd))

    async def flush(self) -> None:
        """Return when all added events are durable."""
        async with self._writing:  # while one task writes, others add, and the next one writes for all of them
            events, self._waiting = self._waiting, []
            if events:
                await asyncio.to_thread(self._segment.append, events)


class _Sender(Generic[Q, R]):
    """Sends all requests with one client, in one event loop."""

    def __init__(
        self,
        access: Access,
        service: Service[Q, R],
        reservation: Reservation,
        queue: _EventQueue[R],
        receive: Callable[[Q, R | Failure], None],
    ) -> None:
        self._access, self._endpoint = access, access.endpoint
        self._service, self._reservation, self._queue, self._receive = service, reservation, queue, receive
        self._throttle = Throttle(self._endpoint.concurrency)
        self._client = openai.AsyncOpenAI(
            api_key=access.secret or NO_KEY,
            base_url=self._endpoint.base_url,
            timeout=self._endpoint.timeout_s,
            max_retries=0,  # this module retries, because each request sent is an event
        )
        self._with_format = self._endpoint.structured_output
        self._answered = False
        self._reserved_requests, self._released = 0, asyncio.Event()
        self._fatal_error: Exception | None = None

    async def run(self, requests: Iterable[Q]) -> None:
        """Send all requests; raise the error that ended the stage."""
        todo = iter(requests)
        async with self._client, asyncio.TaskGroup() as workers:
            # twice as many as may be under way: a request that waits for its retry holds up no other
            for _ in range(2 * self._endpoint.concurrency):
                workers.create_task(self._work(todo))
        await self._queue.flush()
        if self._fatal_error:
            raise self._fatal_error

    async def _work(self, todo: Iterator[Q]) -> None:
        try:
            for request in todo:
                if self._fatal_error:
                    return
                self._receive(request, await self._send_with_retries(request))
        except Exception as error:  # also one that nobody expected: the requests under way end, and are kept
            self._fatal_error = self._fatal_error or error

    async def _send_with_retries(self, request: Q) -> R | Failure:
        """The response, or the failure of the last retry."""
        most_usd = self._service.most_usd(request)
        for tries in range(1, self._endpoint.retries + 2):
            attempt = await self._try_once(request, most_usd)
            if not attempt.retry or tries > self._endpoint.retries:
                break
            await asyncio.sleep(_backoff_s(tries, attempt.retry_after_s))
        await self._queue.flush()
        if isinstance(attempt.outcome, Failure) and attempt.outcome.code == "connection" and not self._answered:
            raise self._access.unreachable(attempt.outcome.detail)
        return attempt.outcome

    async def _try_once(self, request: Q, most_usd: float) -> Attempt[R]:
        async with self._throttle.slot() as sent_at:
            if self._fatal_error:
                raise self._fatal_error
            await self._reserve(most_usd)
            attempt, usd = Attempt[R](Failure("not-sent")), 0.0
            try:
                attempt = await self._send(request)
                usd = self._usd(request, attempt, most_usd)
            except ICSDError:
                raise
            except Exception as error:
                attempt, usd = unreadable(type(error).__name__), most_usd  # it may be charged
                raise
            finally:
                self._release(most_usd - usd)
                self._queue.add(request.key, attempt.outcome, usd)
        if not isinstance(attempt.outcome, Failure):
            self._throttle.succeeded()
        elif attempt.outcome.code in OVERLOAD_CODES:
            self._throttle.refused(sent_at, attempt.retry_after_s)
        elif attempt.outcome.code == "timeout":
            self._throttle.timed_out(sent_at)
        if attempt.fatal:
            raise attempt.fatal
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

    def _usd(self, request: Q, attempt: Attempt[R], most_usd: float) -> float:
        if not attempt.cost_known:
            return most_usd
        return 0.0 if isinstance(attempt.outcome, Failure) else self._service.usd(request, attempt.outcome)

    async def _send(self, request: Q) -> Attempt[R]:
        """Send one request. EndpointError if every other request would fail too."""
        with_format = self._with_format
        try:
            # httpx limits the time between two bytes; a response that never ends needs a limit for the whole
            async with asyncio.timeout(self._endpoint.timeout_s):
                headers, attempt = await self._service.send(self._client, request, with_format=with_format)
        except (TimeoutError, openai.APITimeoutError):
            late = Failure("timeout", f"no answer within {self._endpoint.timeout_s:g} s")
            return Attempt(late, retry=True, cost_known=False)
        except openai.APIConnectionError as error:
            cut = Failure("connection", self._access.redacted(str(error.__cause__ or error)))
            return Attempt(cut, retry=True, cost_known=False)
        except openai.APIStatusError as error:
            return self._refused(error, request, with_format=with_format)
        except (openai.OpenAIError, ValueError) as error:
            return unreadable(self._access.redacted(f"{type(error).__name__}: {error}"))
        self._answered = True
        self._throttle.pause(rate_limit_reset_s(headers))
        return attempt

    def _refused(self, error: openai.APIStatusError, request: Q, *, with_format: bool) -> Attempt[R]:
        """Handle an HTTP error: raise if it is fatal, else return whether to retry."""
        self._answered = True
        status, text = error.status_code, self._access.redacted(error.message)
        if refusal := self._service.refusal(error):
            return Attempt(Failure(refusal.code, self._access.redacted(refusal.detail)))
        if is_fatal(error):
            raise self._access.refusal(status, error.code, self._service.model(request)) from None
        if status == 400 and with_format and FORMAT in error.message:
            if self._with_format:
                _log.info("the server takes no %s: requests are sent without it", FORMAT)
            self._with_format = False
            return Attempt(Failure(f"http-{status}", text), retry=True, retry_after_s=0.0)
        wait_s = retry_after_s(error.response.headers)
        return Attempt(Failure(f"http-{status}", text), is_retryable(status), retry_after_s=wait_s)


def _backoff_s(tries: int, asked_s: float | None) -> float:
    """Seconds before a retry: those that the server named, else twice as long each time, with jitter."""
    if asked_s is not None:
        return asked_s
    return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.0)
