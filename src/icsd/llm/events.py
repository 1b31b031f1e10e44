"""Events on their way to the store, many with one write, and the lines about requests that fail."""

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Generic

from icsd.core.logs import EVERY_S
from icsd.llm.request import Failure
from icsd.llm.service import R, Segment

_log = logging.getLogger(__name__)


class EventQueue(Generic[R]):
    """Events to be stored. What could not be stored stays in the queue."""

    def __init__(self, segment: Segment[R]) -> None:
        self._segment = segment
        self._waiting: list[Any] = []
        self._writing = asyncio.Lock()

    def add(self, key: str, outcome: R | Failure, usd: float, over_usd: float) -> None:
        """Add an event; the next flush stores it."""
        self._waiting.append(self._segment.event(key, outcome, usd, over_usd))

    async def flush(self) -> None:
        """Return when all added events are durable. DiskFullError if there is no room, OSError if the disk fails."""
        async with self._writing:  # while one task writes, others add, and the next one writes for all of them
            events, self._waiting = self._waiting, []
            try:
                if events:
                    await asyncio.to_thread(self._segment.append, events)
            except BaseException:  # what was paid for is written by the next flush
                self._waiting = events + self._waiting
                raise


@dataclass
class FailureLog:
    """Counts requests that failed, and logs a line at once and then every few seconds."""

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    _logged: int = 0
    _logged_at: float = float("-inf")

    def add(self, failure: Failure) -> None:
        """Count a failure."""
        self.failed[failure.code] += 1
        if time.monotonic() - self._logged_at >= EVERY_S:
            self.log()

    def log(self) -> None:
        """Log the counts, unless nothing has failed since the last line."""
        total = self.failed.total()
        if total == self._logged:
            return
        self._logged, self._logged_at = total, time.monotonic()
        causes = ", ".join(f"{code} {count:,}" for code, count in self.failed.most_common(4))
        _log.warning("%s requests were answered, %s failed so far: %s", f"{self.answered:,}", f"{total:,}", causes)
