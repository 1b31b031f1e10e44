"""The store of replies: each kept, under the key of its request, before it is counted.

A folder of segments, `<time>-<random>.jsonl`, each written by one process alone and only ever grown: no locks, which
network file systems keep badly, and one file for all that a job is told. A line is a JSON object, an event:

    {"key": "<64 hex digits>", "reply": {...}, "run": …, "provider": …, "usd": …, "at": …}    a reply
    {"key": "<64 hex digits>", "failed": "http-429", …}                                      a request without one

What a batch brought has its id too, as "batch"; two jobs may have written the same of it.

A line that a killed writer left unfinished is no event. Deleting the folder loses what was paid for, and nothing else.
"""

import json
import logging
import os
import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from icsd.core import files
from icsd.llm.request import Outcome, Reply

KEY_AT = slice(9, 73)  # of a line: {"key": "<64 hex digits>"
Event = Mapping[str, Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Replies:
    """The store in a folder, which need not exist yet."""

    folder: Path

    def find(self, keys: Collection[str]) -> dict[str, Reply]:
        """The replies to those of the requests that have one; of two, the one first in the segments' order."""
        wanted = {key.encode() for key in keys}
        found: dict[str, Reply] = {}
        for line in self._lines() if wanted else ():
            if line[KEY_AT] in wanted:
                event = _parse(line)
                if event and "reply" in event and event["key"] not in found:
                    found[event["key"]] = Reply(**event["reply"])
        return found

    def events(self) -> Iterator[Event]:
        """All that was ever sent and answered."""
        return (event for event in map(_parse, self._lines()) if event)

    def writer(self, **about: str) -> "Segment":
        """A new segment, whose events carry `about`."""
        return Segment(self.folder, about)

    def _lines(self) -> Iterator[bytes]:
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open("rb") as file:
                yield from file


def _parse(line: bytes) -> Event | None:
    """The event of a line; None where its writer was killed in the middle, which the end of line tells."""
    if not line.endswith(b"\n"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "key" in event else None


class Segment:
    """What one process adds to the store. The file is made with the first event."""

    def __init__(self, folder: Path, about: Mapping[str, str]) -> None:
        self._path = folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(8)}.jsonl"
        self._about = dict(about)
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def event(self, key: str, outcome: Outcome, usd: float) -> Event:
        """What there is to keep of an outcome that cost `usd`."""
        what = {"reply": asdict(outcome)} if isinstance(outcome, Reply) else {"failed": outcome.code}
        return {"key": key, **what, **self._about, "usd": usd, "at": round(time.time(), 3)}

    def keep(self, events: Sequence[Event]) -> None:
        """Write the events; they are durable when this returns."""
        if not events:
            return
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = files.new_file(self._path)
        self._file.write(b"".join(json.dumps(event).encode() + b"\n" for event in events))
        self._file.flush()
        os.fsync(self._file.fileno())


@dataclass(frozen=True)
class Spending:
    """What the events of a run come to."""

    requests: int = 0
    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0


def spending(events: Iterable[Event], run: str) -> Spending:
    """The sum over the events of `run`: every request that was sent, those that failed included."""
    requests = replies = prompt = completion = 0
    usd = 0.0
    for event in _each_once(event for event in events if event.get("run") == run):
        requests, usd = requests + 1, usd + event["usd"]
        if "reply" in event:
            replies += 1
            prompt += event["reply"]["prompt_tokens"] or 0
            completion += event["reply"]["completion_tokens"] or 0
    return Spending(requests, replies, prompt, completion, usd)


def _each_once(events: Iterable[Event]) -> Iterator[Event]:
    """Without what two jobs have both collected of one batch."""
    seen: set[tuple[str, str]] = set()
    for event in events:
        line = (event["key"], event.get("batch", ""))
        if line[1] and line in seen:
            continue
        if line[1]:
            seen.add(line)
        yield event
