"""The records of batches, their costs, and the way of their responses into the cache."""

import json
import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from icsd.core.errors import InputError
from icsd.core.files import atomic_path
from icsd.core.lock import living_owner, locked
from icsd.llm.budget import BATCH_PRICE, ROUNDING_USD, OutOfBudget, Prices, Reservation, counted
from icsd.llm.cache import CacheWriter, Event, ResponseCache
from icsd.llm.request import Failure, Outcome, Request, Response

MISSING, UNREADABLE = "missing-line", "unreadable-reply"  # lines that may have been paid for
LEAST_SHARE = 1 / 20  # of a batch: a job does not send less than this with the rest of a budget while others run
_log = logging.getLogger(__name__)
Requests = Mapping[str, Request]


@dataclass(frozen=True)
class BatchRecord:
    """A batch. `name` is our own, in the batch's metadata; `batch` is the server's id, None until it is known."""

    name: str
    run: str  # pays for it
    base_url: str
    model: str
    prices: Prices
    most_usd: Mapping[str, float]  # highest cost of each request by key, which is reserved
    tokens: int  # of all prompts, estimated
    at: float  # seconds since 1970
    batch: str | None = None


@dataclass(frozen=True)
class BatchRecords:
    """The records of batches in a folder, which need not exist yet."""

    folder: Path

    def write(self, record: BatchRecord) -> None:
        """Write or replace a record; it is durable when this returns."""
        with atomic_path(self._path(record)) as path:
            path.write_text(json.dumps(asdict(record)))
            _sync(path)
        _sync(self.folder)

    def read(self) -> list[BatchRecord]:
        """Read all records, the oldest first."""
        found = (_read(path) for path in self.folder.glob("*.json"))
        return sorted((record for record in found if record), key=lambda record: (record.at, record.name))

    def being_created(self, record: BatchRecord) -> AbstractContextManager[str]:
        """Hold a lock while the batch is created: a record without an id and without a lock is an orphan."""
        return locked(self._path(record))

    def is_orphan(self, record: BatchRecord) -> bool:
        """Return whether nobody creates the batch any more; for a job of another machine this takes up to a minute."""
        return living_owner(self._path(record)) is None

    def reread(self, record: BatchRecord) -> BatchRecord | None:
        """The record as it is now; None if it was closed."""
        return _read(self._path(record))

    def contains(self, record: BatchRecord) -> bool:
        """Return whether the record exists; it is deleted when the responses are in the cache."""
        return self._path(record).exists()

    def close(self, record: BatchRecord) -> bool:
        """Delete the record; True for only one of several jobs that do so."""
        try:
            self._path(record).unlink()
        except FileNotFoundError:
            return False
        return True

    def _path(self, record: BatchRecord) -> Path:
        return self.folder / f"{record.name}.json"


def _read(path: Path) -> BatchRecord | None:
    """The record; None if another job has just closed it. InputError for a damaged one: its batch may be paid for."""
    try:
        values = json.loads(path.read_text())
        return BatchRecord(**{**values, "prices": Prices(**values["prices"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        problem = f"is no record of a batch ({type(error).__name__})"
        raise InputError(path, "", problem, "move it away: the requests of its batch are then sent again") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class BatchLedger:
    """The accounts of a job; `run` pays, and is the run of `reservation` and `segment`."""

    prices: Prices
    reservation: Reservation
    store: ResponseCache
    segment: CacheWriter
    run: str

    @property
    def records(self) -> BatchRecords:
        """The records of all jobs that share the cache."""
        return BatchRecords(self.store.folder / "batches")

    def most_usd(self, requests: Requests) -> dict[str, float]:
        """The highest cost of each request, by key."""
        return {key: BATCH_PRICE * self.prices.most(request) for key, request in requests.items()}

    def reserve(self, requests: Requests, allow_few: bool) -> dict[str, float]:
        """Reserve for as many of the requests as the budget allows; return the USD of each by key.

        OutOfBudget if not even one is allowed, or, unless `allow_few`, only a small share of them.
        """
        reserved: dict[str, float] = {}
        try:
            for key, usd in self.most_usd(requests).items():
                self.reservation.reserve(usd)
                reserved[key] = usd
        except OutOfBudget:
            if not reserved or (not allow_few and len(reserved) < LEAST_SHARE * len(requests)):
                self.reservation.release(sum(reserved.values()))
                raise
        return reserved

    def store_outcomes(self, record: BatchRecord, found: Mapping[str, Outcome], missing: Failure) -> dict[str, Outcome]:
        """Store and return the outcomes of all requests of a batch; `missing` for those without one."""
        outcomes = {key: found.get(key, missing) for key in record.most_usd}
        events = [self._event(record, key, outcome) for key, outcome in outcomes.items()]
        self.segment.append(events)
        self.close(record, sum(event["usd"] for event in events))
        for event, outcome in zip(events, outcomes.values(), strict=True):
            if "over_usd" in event and isinstance(outcome, Response) and record.run == self.run:
                self.reservation.overdraw(event["over_usd"], counted(outcome))
        return outcomes

    def close(self, record: BatchRecord, usd: float) -> None:
        """Close the record; one job of the run that reserved its cost releases what was not spent."""
        if self.records.close(record) and record.run == self.run:
            self.reservation.release(sum(record.most_usd.values()) - usd)

    def abandon(self, record: BatchRecord, *, known: bool) -> None:
        """Close the record of a batch that the server does not show. Unless it is `known` not to exist, it counts."""
        most_usd = sum(record.most_usd.values())
        if not known:
            _log.warning(
                "batches: a job was stopped while it created a batch of %s requests. Whether the server made it cannot "
                "be known, because it tells neither metadata nor file names: up to %.4f USD stay counted as spent, and "
                "the requests are sent again", f"{len(record.most_usd):,}", most_usd,
            )  # fmt: skip
        self.close(record, 0.0 if known else most_usd)

    def _event(self, record: BatchRecord, key: str, outcome: Outcome) -> Event:
        # two jobs may collect a batch at once: spending counts one of their events, by the batch's id
        about = {"run": record.run, "model": record.model, "batch": record.batch}
        usd, most_usd = _usd(record, key, outcome), record.most_usd[key]
        over_usd = usd - most_usd if usd > most_usd + ROUNDING_USD else 0.0
        return {**self.segment.event(key, outcome, min(usd, most_usd), over_usd), **about}


def _usd(record: BatchRecord, key: str, outcome: Outcome) -> float:
    """The cost of a line; the highest possible if it is not known."""
    if isinstance(outcome, Failure):
        return record.most_usd[key] if outcome.code in (MISSING, UNREADABLE) else 0.0
    if outcome.prompt_tokens is None or outcome.completion_tokens is None:
        return record.most_usd[key]
    return BATCH_PRICE * record.prices.cost(outcome.prompt_tokens, outcome.completion_tokens)
