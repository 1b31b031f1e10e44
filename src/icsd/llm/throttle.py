"""How many requests may be under way: as many as the server bears, found out as TCP does.

Slow start and additive increase, multiplicative decrease: Jacobson, 1988, "Congestion avoidance and control".
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

FIRST = 32  # requests under way at the beginning: 16 refuses a little less and costs 2% of 3,000 requests, 32 1%
RECENT = 32  # requests, over which the share of time-outs is a moving average
LATE_SHARE = 0.1  # of time-outs; above it the load is the cause, and not a request
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Pace:
    """A limit between 1 and `most`; of one event loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(min(FIRST, most))
        self.under_way = 0
        self._growing_fast = True
        self._paused_until = 0.0
        self._cut_at = float("-inf")
        self._late_share = 0.0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Waits until one request more may be sent; gives the time at which it is."""
        async with self._changed:
            while (wait := self._wait_s()) > 0:
                await self._woken(wait)
            self.under_way += 1
        try:
            yield asyncio.get_running_loop().time()
        finally:
            async with self._changed:
                self.under_way -= 1
                self._changed.notify(max(1, int(self.limit) - self.under_way))

    def succeeded(self) -> None:
        """A reply came: the limit doubles a round trip until the first refusal, and then grows by one."""
        self.limit = min(self.most, self.limit + (1.0 if self._growing_fast else 1.0 / self.limit))
        self._late_share -= self._late_share / RECENT

    def refused(self, sent_at: float, retry_after_s: float | None) -> None:
        """The server has too much to do. One cut for all requests that were under way at the last one."""
        now = asyncio.get_running_loop().time()
        self.pause(retry_after_s or 0.0)
        if sent_at > self._cut_at:
            self.limit = max(1.0, self.limit / 2)
            self._growing_fast, self._cut_at = False, now

    def timed_out(self, sent_at: float) -> None:
        """No answer in time. Many such are too much to do, though the server does not say so."""
        self._late_share += (1.0 - self._late_share) / RECENT
        if self._late_share > LATE_SHARE:
            self.refused(sent_at, None)

    def pause(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    def _wait_s(self) -> float:
        """0 if a request may go, else after how many seconds to look again; infinity: when another has ended."""
        pause = self._paused_until - asyncio.get_running_loop().time()
        if pause > 0:
            return pause
        return 0.0 if self.under_way < int(self.limit) else float("inf")

    async def _woken(self, wait_s: float) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), None if wait_s == float("inf") else wait_s)
        except TimeoutError:
            return


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `retry-after` in seconds; None if it says nothing."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    return None


def exhausted_s(headers: Mapping[str, str]) -> float:
    """Seconds until the server takes requests again, if this reply used up the limit; else 0.

    The headers are OpenAI's `x-ratelimit-remaining-…` and `x-ratelimit-reset-…`, the latter such as 1s, 6m0s or 20ms.
    """
    waits = [
        duration_s(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}") == "0"
    ]
    return max(waits, default=0.0)


def duration_s(text: str) -> float:
    """Seconds of a duration such as 1h2m3.5s; 0 where it is none."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
