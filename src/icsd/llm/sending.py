"""Sending of requests to an endpoint, many at once: retries, budget and events. Chat and images share it.

A request that fails with a timeout, a lost connection or a status such as 429 or 500 is sent again after a pause
(`_send_with_retries`); a 429 also lowers the number of requests at once (`throttle`). A parameter that the server
refuses is left out or renamed (`parameters`). The key is read from its environment variable before the first request,
and is redacted in all that is stored of the server's words.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Generic

import openai

from icsd.core.errors import DiskFullError, ICSDError
from icsd.core.files import reserved_room
from icsd.llm.budget import OutOfBudget, Reservation
from icsd.llm.endpoint import NO_KEY, Access, Endpoint
from icsd.llm.events import EventQueue, FailureLog
from icsd.llm.parameters import Parameters
from icsd.llm.problems import of_client
from icsd.llm.request import Failure
from icsd.llm.service import Attempt, Q, R, Segment, Service, unreadable
from icsd.llm.throttle import FIRST, Throttle, backoff_s, capped_s, rate_limit_reset_s, retry_after_s

OVERLOAD_CODES = frozenset(("http-429", "http-503", "http-529"))  # the server wants fewer requests
LEAST_TIMEOUTS = 4  # the stage stops after these and one and a half times all at once, if no answer ever came
MOST_FORBIDDEN = 10  # a filter may answer 403 to one prompt; to so many in a row, it is the key
LEAST_ROOM = 1024**2  # bytes
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
    retries is a Failure. EndpointError (a refused key, an unknown model or address, nobody listening or answering),
    OutOfBudget, OverBound and DiskFullError end the stage after the requests under way, so that their responses are
    stored. ConfigError without a key.
    """
    access = Access.to(endpoint)
    # before the first request: on a disk that runs full, the responses under way still find room
    with reserved_room(segment.folder, max(LEAST_ROOM, endpoint.concurrency * service.reply_bytes)) as free_room:
        asyncio.run(_Sender(access, service, reservation, EventQueue(segment), receive).run(requests, free_room))


class _Sender(Generic[Q, R]):
    """Sends all requests with one client, in one event loop."""

    def __init__(
        self,
        access: Access,
        service: Service[Q, R],
        reservation: Reservation,
        queue: EventQueue[R],
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
        self._takes, self._proven = Parameters.at(self._endpoint), False
        self._failures = FailureLog()
        self._forbidden = 0  # in a row
        self._reserved_requests, self._released = 0, asyncio.Event()
        self._fatal_error: Exception | None = None

    async def run(self, requests: Iterable[Q], free_room: Callable[[], None]) -> None:
        """Send all requests; raise the error that ended the stage."""
        todo = iter(requests)
        async with self._client, asyncio.TaskGroup() as workers:
            # twice as many as may be under way: a request that waits for its retry holds up no other
            for _ in range(2 * self._endpoint.concurrency):
                workers.create_task(self._work(todo))
        try:
            await self._queue.flush()
        except (DiskFullError, OSError):  # an error of a network file system may pass
            free_room()
            await self._queue.flush()
        self._failures.log()
        if error := self._reservation.error or self._fatal_error:
            raise error

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
        most_usd, tries, tried = self._service.most_usd(request), 1, list[Parameters]()
        other: Parameters | None = None
        while True:
            attempt, takes = await self._try_once(request, most_usd, other)
            if instead := self._other_parameters(attempt, takes, tried):
                tried.append(takes)
                other = instead
                continue
            if not attempt.retry or tries > self._endpoint.retries:
                break
            await asyncio.sleep(backoff_s(tries) if attempt.retry_after_s is None else attempt.retry_after_s)
            tries += 1
        await self._queue.flush()
        outcome = attempt.outcome
        if not isinstance(outcome, Failure):
            self._learn(takes)
        elif outcome.code == "connection" and not self._failures.answered:
            raise self._access.unreachable(outcome.detail)
        return outcome

    def _other_parameters(self, attempt: Attempt[R], takes: Parameters, tried: list[Parameters]) -> Parameters | None:
        """Parameters with which a refused request may succeed: those learnt from another one, or new ones to try."""
        if attempt.error is None:
            return None
        if self._takes not in (takes, *tried):
            return self._takes
        return takes.instead(attempt.error, [*tried, takes], proven=self._proven)

    def _learn(self, takes: Parameters) -> None:
        """Keep the parameters of a request that succeeded, for all that follow."""
        if takes != self._takes:
            _log.warning("the server refuses a parameter: requests are sent %s", takes.changes(self._takes))
        self._takes, self._proven = takes, True

    async def _try_once(self, request: Q, most_usd: float, other: Parameters | None) -> tuple[Attempt[R], Parameters]:
        """Send a request once, with `other` parameters or those that are known by now; return them too."""
        async with self._throttle.slot() as sent_at:
            takes = other or self._takes
            await self._reserve(most_usd)
            if fatal := self._fatal_error or self._reservation.error:  # it may have come while this request waited
                self._release(most_usd)
                raise fatal
            attempt, usd = Attempt[R](Failure("not-sent")), 0.0
            try:
                attempt = await self._send(request, takes)
                usd = self._usd(request, attempt, most_usd)
            except ICSDError:
                raise
            except Exception as error:
                attempt, usd = unreadable(type(error).__name__), most_usd  # it may be charged
                raise
            finally:
                self._release(max(0.0, most_usd - usd))
                self._queue.add(request.key, attempt.outcome, min(usd, most_usd), max(0.0, usd - most_usd))
        self._judge(attempt, sent_at)
        if not isinstance(attempt.outcome, Failure) and usd > most_usd:
            self._reservation.overdraw(usd - most_usd, self._service.counted(attempt.outcome))
        if fatal := attempt.fatal or self._reservation.error:
            raise fatal
        return attempt, takes

    def _judge(self, attempt: Attempt[R], sent_at: float) -> None:
        """Adapt the number of requests at once to the outcome of one. EndpointError if the server never answers."""
        if not isinstance(attempt.outcome, Failure):
            self._throttle.succeeded()
            self._forbidden = 0
            return
        self._failures.add(attempt.outcome)
        if attempt.outcome.code in OVERLOAD_CODES:
            self._throttle.refused(sent_at, attempt.retry_after_s)
        elif attempt.outcome.code == "timeout":
            self._throttle.timed_out(sent_at)
            late, first = self._failures.failed["timeout"], min(FIRST, self._endpoint.concurrency)
            if not self._failures.answered and late >= max(LEAST_TIMEOUTS, first * 3 // 2):
                raise self._access.too_slow(late)

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

    async def _send(self, request: Q, takes: Parameters) -> Attempt[R]:
        """Send one request. EndpointError if every other request would fail too."""
        try:
            # httpx limits the time between two bytes; a response that never ends needs a limit for the whole
            async with asyncio.timeout(self._endpoint.timeout_s):
                headers, attempt = await self._service.send(self._client, request, takes)
        except (TimeoutError, openai.APITimeoutError):
            late = Failure("timeout", f"no answer within {self._endpoint.timeout_s:g} s")
            return Attempt(late, retry=True, cost_known=False)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            cut = Failure("connection", self._access.redacted(str(cause) or type(cause).__name__))
            return Attempt(cut, retry=True, cost_known=False)
        except openai.APIStatusError as error:
            return self._refused(error, request)
        except (openai.OpenAIError, ValueError) as error:
            return unreadable(self._access.redacted(f"{type(error).__name__}: {error}"))
        self._failures.answered += 1
        self._throttle.pause(capped_s(rate_limit_reset_s(headers)))
        return attempt

    def _refused(self, raised: openai.APIStatusError, request: Q) -> Attempt[R]:
        """Handle an HTTP error: raise if it is fatal, else return whether to retry."""
        self._failures.answered += 1
        error = of_client(raised)
        failure = Failure(f"http-{error.status}", self._access.redacted(raised.message))
        detail = self._service.refusal(error)
        if detail is not None:
            return Attempt(self._service.refused(self._access.redacted(detail)))
        if error.is_fatal and not self._is_of_one_prompt(error.status):
            raise self._access.refusal(error, self._service.model(request)) from None
        wait_s = retry_after_s(raised.response.headers)
        wait_s = None if wait_s is None else capped_s(wait_s)
        return Attempt(failure, error.is_retryable, retry_after_s=wait_s, error=error)

    def _is_of_one_prompt(self, status: int) -> bool:
        """Return whether a 403 is of a filter, although its words do not say so: the key was accepted before."""
        self._forbidden += status == 403
        return status == 403 and self._proven and self._forbidden <= MOST_FORBIDDEN
