"""The cache of responses: each request that was sent, what came back and what it cost.

It is a `core.store` in a folder that all runs share. A record is an event, a JSON object under its request's key:

    {"key": "<64 hex digits>", "reply": {...}, "run": …, "provider": …, "usd": …, "at": …}    a response
    {"key": "<64 hex digits>", "failed": "http-429", …}                                      a request without one

A response that came with a batch also has the batch's id, as "batch"; two jobs may have written the same one.
Deleting the folder loses what was paid for, and nothing else.
"""

import json
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from icsd.core.store import SegmentWriter, Store
from icsd.llm.replies import UnreadableReply, parse_json, read_response, token_count
from icsd.llm.request import Outcome, Response

LATER_FIELDS = ("reasoning_tokens", "reasoning", "problem")  # of a reply, in its event where they say something
MOST_USD = 1e6  # of a request: no request costs so much
LINE_KEY = slice(9, 73)  # of a line of the old format: {"key": "<64 hex digits>"
Event = Mapping[str, Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResponseCache:
    """The cache in a folder, which need not exist yet."""

    folder: Path

    def find(self, keys: Collection[str]) -> dict[str, Response]:
        """The responses to those of the requests that have one; of several, the first."""
        found: dict[str, Response] = {}
        for event in self.events(keys):
            if "reply" in event and event["key"] not in found:
                found[event["key"]] = read_response(event["reply"])
        return found

    def events(self, keys: Collection[str] | None = None) -> Iterator[Event]:
        """Yield all events, or those with one of the keys; records that are no event are ignored, with one line."""
        yield from self._old_events(keys)
        ignored = 0
        for _, value in self._store.records(keys):
            if event := _event(value):
                yield event
            else:
                ignored += 1
        if ignored:
            _log.warning("%s: %s records cannot be read and are ignored", self.folder, f"{ignored:,}")

    def writer(self, **about: str) -> "CacheWriter":
        """A writer of events that carry `about`."""
        return CacheWriter(self._store.writer(), about)

    @property
    def _store(self) -> Store:
        return Store(self.folder, ".replies")

    def _old_events(self, keys: Collection[str] | None) -> Iterator[Event]:
        """Yield the events of the format before `core.store`: files of lines, the last one perhaps cut by a kill."""
        wanted = None if keys is None else {key.encode() for key in keys}
        for path in sorted(self.folder.glob("*.jsonl")) if wanted != set() else ():
            with path.open("rb") as file:
                lines = file if wanted is None else (line for line in file if line[LINE_KEY] in wanted)
                yield from filter(None, map(_old_event, lines))


def _old_event(line: bytes) -> Event | None:
    return _event(line) if line.endswith(b"\n") else None


def _event(record: bytes) -> Event | None:
    """The event of a record, with a price that is a number; None if it is none."""
    try:
        event = parse_json(record)
    except UnreadableReply:
        return None
    if not isinstance(event, dict) or not isinstance(event.get("key"), str):
        return None
    if not isinstance(event.get("reply", {}), dict):
        return None
    return event | {name: _price(event.get(name)) for name in ("usd", "over_usd") if name in event}


def _price(value: Any) -> float:
    """A price in USD; 0 if it is none, as an older version stored of counts that cannot be believed."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 <= value < MOST_USD else 0.0


class CacheWriter:
    """Appends the events of one process."""

    def __init__(self, segment: SegmentWriter, about: Mapping[str, str]) -> None:
        self._segment, self._about = segment, dict(about)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._segment.__exit__(*error)

    @property
    def folder(self) -> Path:
        """The folder of the store."""
        return self._segment.folder

    def event(self, key: str, outcome: Outcome, usd: float, over_usd: float = 0.0) -> Event:
        """The event of an outcome that cost `usd`, and beyond what was reserved for it `over_usd`."""
        over = {"over_usd": over_usd} if over_usd else {}
        if not isinstance(outcome, Response):
            return self.record(key, {"failed": outcome.code} | over, usd)
        reply = {name: value for name, value in asdict(outcome).items() if name not in LATER_FIELDS or value}
        return self.record(key, {"reply": reply} | over, usd)

    def record(self, key: str, result: Mapping[str, Any], usd: float) -> Event:
        """The event of a request with this result that cost `usd`."""
        return {"key": key, **result, **self._about, "usd": usd, "at": round(time.time(), 3)}

    def append(self, events: Sequence[Event]) -> None:
        """Append the events; they are durable when this returns. DiskFullError if there is no room."""
        self._segment.append([(event["key"], json.dumps(event).encode()) for event in events])


@dataclass(frozen=True)
class Spending:
    """The sums of a run's events."""

    requests: int = 0
    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    over_usd: float = 0.0  # counted by the server beyond the most that a request may cost


def spending(events: Iterable[Event], run: str) -> Spending:
    """The sums over the events of `run`: every request that was sent, failed ones included."""
    requests = replies = prompt = completion = 0
    usd = over_usd = 0.0
    for event in _without_doubles(event for event in events if event.get("run") == run):
        requests, usd = requests + 1, usd + event.get("usd", 0.0)
        over_usd += event.get("over_usd", 0.0)
        if "reply" in event:
            replies += 1
            prompt += token_count(event["reply"].get("prompt_tokens")) or 0
            completion += token_count(event["reply"].get("completion_tokens")) or 0
    return Spending(requests, replies, prompt, completion, usd, over_usd)


def _without_doubles(events: Iterable[Event]) -> Iterator[Event]:
    """Yield each event of a batch once, if two jobs collected that batch."""
    seen: set[tuple[str, str]] = set()
    for event in events:
        line = (event["key"], str(event.get("batch") or ""))
        if line[1] and line in seen:
            continue
        if line[1]:
            seen.add(line)
        yield event
