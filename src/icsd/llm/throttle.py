"""The number of requests at once, adapted to the server as TCP adapts its window.

Slow start and additive increase, multiplicative decrease: Jacobson, 1988, "Congestion avoidance and control".
"""

import asyncio
import logging
import math
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime

FIRST = 32  # requests at once in the beginning: of 3,000 requests 16 costs 2% more time, 32 costs 1%
AVERAGED_REQUESTS = 32  # of the moving average of the share of timeouts
MAX_TIMEOUT_SHARE = 0.1  # above it the load is the cause, not a single request
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
LONGEST_PAUSE_S = 300.0  # a server that asks for more is asked again after that
_log = logging.getLogger(__name__)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Throttle:
    """A limit between 1 and `most` requests at once, in one event loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(min(FIRST, most))
        self.under_way = 0
        self._growing_fast = True
        self._paused_until = 0.0
        self._cut_at = float("-inf")
        self._timeout_share = 0.0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Wait until another request may be sent; yield the time of sending."""
        async with self._changed:
            while (wait := self._wait_s()) > 0:
                await self._wait_for_change(wait)
            self.under_way += 1
        try:
            yield asyncio.get_running_loop().time()
        finally:
            async with self._changed:
                self.under_way -= 1
                self._changed.notify(max(1, int(self.limit) - self.under_way))

    def succeeded(self) -> None:
        """Raise the limit: it doubles each round trip until the first refusal, then grows by one."""
        self.limit = min(self.most, self.limit + (1.0 if self._growing_fast else 1.0 / self.limit))
        self._timeout_share -= self._timeout_share / AVERAGED_REQUESTS

    def refused(self, sent_at: float, retry_after_s: float | None) -> None:
        """Halve the limit after a 429 or its like: once for all requests that were sent before the last cut."""
        now = asyncio.get_running_loop().time()
        self.pause(retry_after_s or 0.0)
        if sent_at > self._cut_at:
            self.limit = max(1.0, self.limit / 2)
            self._growing_fast, self._cut_at = False, now

    def timed_out(self, sent_at: float) -> None:
        """Count a request without an answer in time; too many of them count as a refusal."""
        self._timeout_share += (1.0 - self._timeout_share) / AVERAGED_REQUESTS
        if self._timeout_share > MAX_TIMEOUT_SHARE:
            self.refused(sent_at, None)

    def pause(self, seconds: float) -> None:
        """Send nothing for so many seconds."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    def _wait_s(self) -> float:
        """Seconds until a request may be sent; infinity until another one ends."""
        pause = self._paused_until - asyncio.get_running_loop().time()
        if pause > 0:
            return pause
        return 0.0 if self.under_way < int(self.limit) else float("inf")

    async def _wait_for_change(self, wait_s: float) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), None if wait_s == float("inf") else wait_s)
        except TimeoutError:
            return


def capped_s(seconds: float) -> float:
    """The seconds that a server asks for, up to LONGEST_PAUSE_S; more is logged."""
    if seconds <= LONGEST_PAUSE_S:
        return seconds
    _log.warning("the server asks for a pause of %.3g s: the next try is in %g s", seconds, LONGEST_PAUSE_S)
    return LONGEST_PAUSE_S


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the header `retry-after-ms`, or `retry-after` in seconds or as a date; None without a number.

    A date counts from the response's own `date`, so that the machines' clocks need not agree.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with suppress(KeyError, ValueError):
            seconds = float(headers[name]) * unit
            if math.isfinite(seconds):
                return max(0.0, seconds)
    until, now = (_seconds_of(headers.get(name, "")) for name in ("retry-after", "date"))
    return None if until is None else max(0.0, until - (time.time() if now is None else now))


def _seconds_of(date: str) -> float | None:
    """Seconds since 1970 of a date in the form of HTTP; None if the text is no date."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def rate_limit_reset_s(headers: Mapping[str, str]) -> float:
    """Seconds until the server takes requests again if this response used up the rate limit; else 0.

    The headers are OpenAI's `x-ratelimit-remaining-…` and `x-ratelimit-reset-…`, the latter such as 1s, 6m0s or 20ms.
    """
    waits = [
        duration_s(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}") == "0"
    ]
    return max(waits, default=0.0)


def duration_s(text: str) -> float:
    """Seconds of a duration such as 1h2m3.5s; 0 if the text is no duration."""
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
    return seconds if math.isfinite(seconds) else 0.0


def backoff_s(failed: int) -> float:
    """Seconds before a request that has `failed` so many times, from 1 on, is sent again, with jitter."""
    return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (failed - 1)) * random.uniform(0.5, 1.0)
