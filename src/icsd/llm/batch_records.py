"""What batches may cost and did cost, and their replies' way into the store."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from icsd.core.files import atomic_path
from icsd.llm.budget import OutOfBudget, Prices, Purse
from icsd.llm.cache import CacheWriter, Event, ResponseCache
from icsd.llm.request import Failure, Outcome, Request


@dataclass(frozen=True)
class Record:
    """A batch. `name` is our own and in the batch's metadata; `batch` is the server's id, None until it is known."""

    name: str
    run: str  # that pays for it
    base_url: str
    model: str
    prices: Prices
    most_usd: Mapping[str, float]  # what each request may cost at most, by key: so much is reserved
    tokens: int  # of all prompts, estimated
    at: float  # seconds since 1970
    batch: str | None = None


@dataclass(frozen=True)
class Records:
    """The records in a folder, which need not exist yet."""

    folder: Path

    def write(self, record: Record) -> None:
        """Write or replace; durable when this returns."""
        with atomic_path(self._path(record)) as path:
            path.write_text(json.dumps(asdict(record)))
            _sync(path)
        _sync(self.folder)

    def open(self) -> list[Record]:
        """All of them, the oldest first."""
        found = (_read(path) for path in self.folder.glob("*.json"))
        return sorted((record for record in found if record), key=lambda record: (record.at, record.name))

    def holds(self, record: Record) -> bool:
        """False once its replies are in the store."""
        return self._path(record).exists()

    def close(self, record: Record) -> bool:
        """Delete it; True for one job only, however many do so at once."""
        try:
            self._path(record).unlink()
        except FileNotFoundError:
            return False
        return True

    def _path(self, record: Record) -> Path:
        return self.folder / f"{record.name}.json"


def _read(path: Path) -> Record | None:
    """None where another job has just closed it."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return Record(**{**values, "prices": Prices(**values["prices"])})


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


BATCH_PRICE = 0.5  # of the price of a request that is answered at once
MISSING, UNREADABLE = "missing-line", "unreadable-reply"  # lines that may have been paid for
LEAST_SHARE = 1 / 20  # of a batch: for less than this, money that is left does not keep a job waiting
Requests = Mapping[str, Request]


@dataclass(frozen=True)
class Accounts:
    """A job's; `run` pays, and is the run of `purse` and `segment`."""

    prices: Prices
    purse: Purse
    store: ResponseCache
    segment: CacheWriter
    run: str

    @property
    def records(self) -> Records:
        """Of all jobs that share the store."""
        return Records(self.store.folder / "batches")

    def most_usd(self, requests: Requests) -> dict[str, float]:
        """What each may cost, by key."""
        return {
            key: BATCH_PRICE * self.prices.cost(request.most_prompt_tokens, request.sampling.max_tokens)
            for key, request in requests.items()
        }

    def reserve(self, requests: Requests, small_too: bool) -> dict[str, float]:
        """The first of the requests that the budget allows, with what is reserved for each.

        OutOfBudget: not one, or, unless `small_too`, only a small share of them.
        """
        reserved: dict[str, float] = {}
        try:
            for key, usd in self.most_usd(requests).items():
                self.purse.take(usd)
                reserved[key] = usd
        except OutOfBudget:
            if not reserved or (not small_too and len(reserved) < LEAST_SHARE * len(requests)):
                self.purse.put_back(sum(reserved.values()))
                raise
        return reserved

    def keep(self, record: Record, found: Mapping[str, Outcome], missing: Failure) -> dict[str, Outcome]:
        """The outcomes of all of the batch's requests, durable, other jobs' too; `missing` where none is found."""
        outcomes = {key: found.get(key, missing) for key in record.most_usd}
        events = [self._event(record, key, outcome) for key, outcome in outcomes.items()]
        self.segment.append(events)
        self.close(record, sum(event["usd"] for event in events))
        return outcomes

    def close(self, record: Record, usd: float) -> None:
        """End the record. One job frees what was reserved and not spent, a job of the run that reserved it."""
        if self.records.close(record) and record.run == self.run:
            self.purse.put_back(sum(record.most_usd.values()) - usd)

    def _event(self, record: Record, key: str, outcome: Outcome) -> Event:
        # two jobs may collect at once: by the batch's id, spending counts one of their events
        about = {"run": record.run, "model": record.model, "batch": record.batch}
        return {**self.segment.event(key, outcome, _usd(record, key, outcome)), **about}


def _usd(record: Record, key: str, outcome: Outcome) -> float:
    """What the line has cost; the most where that is not known."""
    if isinstance(outcome, Failure):
        return record.most_usd[key] if outcome.code in (MISSING, UNREADABLE) else 0.0
    if outcome.prompt_tokens is None or outcome.completion_tokens is None:
        return record.most_usd[key]
    return BATCH_PRICE * record.prices.cost(outcome.prompt_tokens, outcome.completion_tokens)
