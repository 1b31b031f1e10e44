"""The `openai` provider: any endpoint that speaks OpenAI's chat completions.

The key is read from its environment variable when the client is made, is held by the client alone, and is blanked out
of everything that is kept of the server's words.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import openai

from icsd.core.errors import ICSDError
from icsd.llm.budget import OutOfBudget, Prices, Purse
from icsd.llm.cache import CacheWriter, Event
from icsd.llm.openai_api import NO_KEY, Access, Endpoint, ends_all, read_response, request_body, worth_again
from icsd.llm.request import Failure, Outcome, Request, Response
from icsd.llm.throttle import Pace, exhausted_s, retry_after_s

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # before a request is sent again
TOO_MUCH = frozenset(("http-429", "http-503", "http-529"))  # the server asks for fewer requests
_log = logging.getLogger(__name__)
Receive = Callable[[Request, Outcome], None]


def ask(
    requests: Iterable[Request],
    endpoint: Endpoint,
    prices: Prices,
    purse: Purse,
    segment: CacheWriter,
    receive: Receive,
) -> None:
    """Send the requests, up to `concurrency` at once and with no barrier; `receive` gets each one's outcome.

    Each request sent is an event in `segment`, durable before `receive` hears of its reply. One that fails after the
    retries is a Failure. What ends the stage lets those under way finish, so that they are kept: EndpointError (a key
    that is refused, a model or address that does not exist, nobody listening), OutOfBudget. ConfigError: no key.
    """
    access = Access.to(endpoint)
    asyncio.run(_Asker(access, prices, purse, _Keeper(segment), receive).ask(requests))


@dataclass(frozen=True)
class _Attempt:
    """What became of one request sent."""

    outcome: Outcome
    again: bool = False  # a later try may do better
    cost_known: bool = True  # a server whose reply was lost may have charged for it
    retry_after_s: float | None = None


class _Keeper:
    """Makes events durable, many with one write."""

    def __init__(self, segment: CacheWriter) -> None:
        self._segment = segment
        self._waiting: list[Event] = []
        self._writing = asyncio.Lock()

    def add(self, key: str, outcome: Outcome, usd: float) -> None:
        """An event, to be written with the next that is kept."""
        self._waiting.append(self._segment.event(key, outcome, usd))

    async def keep(self) -> None:
        """Returns when all that was added is durable."""
        async with self._writing:  # while one writes, others add, and the next writes for all of them
            events, self._waiting = self._waiting, []
            if events:
                await asyncio.to_thread(self._segment.append, events)


class _Asker:
    """Asks all requests with one client, in one event loop."""

    def __init__(self, access: Access, prices: Prices, purse: Purse, keeper: _Keeper, receive: Receive) -> None:
        self._access, self._endpoint = access, access.endpoint
        self._prices, self._purse, self._keeper, self._receive = prices, purse, keeper, receive
        self._pace = Pace(self._endpoint.concurrency)
        self._client = openai.AsyncOpenAI(
            api_key=access.secret or NO_KEY,
            base_url=self._endpoint.base_url,
            timeout=self._endpoint.timeout_s,
            max_retries=0,  # the retries are this module's: each request that is sent counts
        )
        self._structured = self._endpoint.structured_output
        self._answered = False
        self._set_aside_for, self._freed = 0, asyncio.Event()
        self._end: ICSDError | None = None

    async def ask(self, requests: Iterable[Request]) -> None:
        """Ask them all, or raise what ended the stage."""
        todo = iter(requests)
        async with self._client, asyncio.TaskGroup() as workers:
            # twice as many as may be under way: one that waits to send again holds up no other
            for _ in range(2 * self._endpoint.concurrency):
                workers.create_task(self._work(todo))
        await self._keeper.keep()
        if self._end:
            raise self._end

    async def _work(self, todo: Iterator[Request]) -> None:
        try:
            for request in todo:
                if self._end:
                    return
                self._receive(request, await self._outcome(request))
        except ICSDError as error:
            self._end = self._end or error

    async def _outcome(self, request: Request) -> Outcome:
        """The reply, or why there is none after the retries."""
        most_usd = self._prices.cost(request.most_prompt_tokens, request.sampling.max_tokens)
        for tries in range(1, self._endpoint.retries + 2):
            attempt = await self._attempt(request, most_usd)
            if not attempt.again or tries > self._endpoint.retries:
                break
            await asyncio.sleep(_wait_s(tries, attempt.retry_after_s))
        await self._keeper.keep()
        if isinstance(attempt.outcome, Failure) and attempt.outcome.code == "connection" and not self._answered:
            raise self._access.unreachable(attempt.outcome.detail)
        return attempt.outcome

    async def _attempt(self, request: Request, most_usd: float) -> _Attempt:
        async with self._pace.slot() as sent_at:
            if self._end:
                raise self._end
            await self._set_aside(most_usd)
            attempt, usd = _Attempt(Failure("not-sent")), 0.0
            try:
                attempt = await self._send(request)
                usd = self._usd(attempt, most_usd)
            finally:
                self._put_back(most_usd - usd)
                self._keeper.add(request.key, attempt.outcome, usd)
        if isinstance(attempt.outcome, Response):
            self._pace.succeeded()
        elif attempt.outcome.code in TOO_MUCH:
            self._pace.refused(sent_at, attempt.retry_after_s)
        elif attempt.outcome.code == "timeout":
            self._pace.timed_out(sent_at)
        return attempt

    async def _set_aside(self, usd: float) -> None:
        """OutOfBudget if this is not left, and will not be when those under way have cost less than they may."""
        while True:
            try:
                self._purse.take(usd)
            except OutOfBudget:
                if not self._set_aside_for:
                    raise
                self._freed.clear()
                await self._freed.wait()
            else:
                self._set_aside_for += 1
                return

    def _put_back(self, usd: float) -> None:
        self._set_aside_for -= 1
        self._purse.put_back(usd)
        self._freed.set()

    def _usd(self, attempt: _Attempt, most_usd: float) -> float:
        if not attempt.cost_known:
            return most_usd
        if isinstance(attempt.outcome, Failure):
            return 0.0
        prompt, completion = attempt.outcome.prompt_tokens, attempt.outcome.completion_tokens
        return most_usd if prompt is None or completion is None else self._prices.cost(prompt, completion)

    async def _send(self, request: Request) -> _Attempt:
        """One request and what came back. EndpointError where no other would fare better."""
        structured = self._structured
        try:
            # httpx limits the time between two bytes; a reply that drips for ever needs a limit for the whole
            async with asyncio.timeout(self._endpoint.timeout_s):
                raw = await self._client.chat.completions.with_raw_response.create(**request_body(request, structured))
                completion = raw.parse()
        except (TimeoutError, openai.APITimeoutError):
            late = Failure("timeout", f"no answer within {self._endpoint.timeout_s:g} s")
            return _Attempt(late, again=True, cost_known=False)
        except openai.APIConnectionError as error:
            cut = Failure("connection", self._access.blanked(str(error.__cause__ or error)))
            return _Attempt(cut, again=True, cost_known=False)
        except openai.APIStatusError as error:
            return self._refused(error, request, structured)
        except (openai.OpenAIError, ValueError) as error:
            return self._unreadable(f"{type(error).__name__}: {error}")
        self._answered = True
        self._pace.pause(exhausted_s(raw.headers))
        reply = read_response(completion)
        return _Attempt(reply) if reply else self._unreadable("the reply is no chat completion")

    def _unreadable(self, what: str) -> _Attempt:
        return _Attempt(Failure("unreadable-reply", self._access.blanked(what)), again=True, cost_known=False)

    def _refused(self, error: openai.APIStatusError, request: Request, structured: bool) -> _Attempt:
        """An answer that is an error: the stage ends, or the request is tried again, or it is not."""
        self._answered = True
        status, text = error.status_code, self._access.blanked(error.message)
        if ends_all(error):
            raise self._access.refusal(status, error.code, request.sampling.model) from None
        if status == 400 and structured and "response_format" in error.message:
            if self._structured:
                _log.info("summaries: the server takes no JSON schema; answers are checked here alone")
            self._structured = False
            return _Attempt(Failure(f"http-{status}", text), again=True, retry_after_s=0.0)
        wait_s = retry_after_s(error.response.headers)
        return _Attempt(Failure(f"http-{status}", text), worth_again(status), retry_after_s=wait_s)


def _wait_s(tries: int, asked_s: float | None) -> float:
    """What the server asks for, else twice as long each time, and not at the same moment as others."""
    if asked_s is not None:
        return asked_s
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.0)
