"""The `openai-batch` provider: OpenAI's Batch API, which answers within a day at half the price.

A batch is paid for even if its job is killed. So it has a record in `<summaries.store>/batches` from before it is
created until its responses are in the cache. A job first reads the records of other jobs: it waits for the batches that
hold one of its requests, and stores the responses of all that are done.
"""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from icsd.config import BatchConfig
from icsd.llm.batch.ledger import MISSING, BatchLedger, BatchRecord
from icsd.llm.batch.reading import BatchState
from icsd.llm.batch.server import BatchServer, Found, NotCreated, batch_line
from icsd.llm.budget import OutOfBudget
from icsd.llm.endpoint import Access, Endpoint, EndpointError
from icsd.llm.parameters import REFUSED, Parameters
from icsd.llm.problems import HttpError
from icsd.llm.request import Failure, Outcome, Receive, Request, Response

BYTES_A_TOKEN = 4  # of English; an estimate for the limit of enqueued tokens
LONGEST_WAIT_S = 600.0  # before a batch is submitted again after the server had no room for it
ENDED = frozenset(("completed", "expired", "cancelled"))  # with files; any other status may still change
NO_ROOM = "token_limit_exceeded"
_log = logging.getLogger(__name__)
Requests = dict[str, Request]


def complete_requests(
    requests: Iterable[Request], endpoint: Endpoint, settings: BatchConfig, ledger: BatchLedger, receive: Receive
) -> None:
    """Send the requests in batches, wait, and call `receive` with each one's outcome when it is durable in the cache.

    A line that fails after the retries is a Failure. EndpointError if the endpoint refuses, or if a batch of this call
    failed or was cancelled; other batches go on, and the next call takes their responses. OutOfBudget when all that
    could be paid for is answered, OverBound after a reply that cost more than was reserved, also one of an earlier
    job's batch. ConfigError without a key.
    """
    todo = {request.key: request for request in requests}
    if todo:
        access = Access.to(endpoint)
        with BatchServer(access, _model(todo)) as server:
            _BatchRequester(settings, ledger, server, access, todo, receive).send()


@dataclass
class _AwaitedBatch:
    """A batch that this job waits for, and this job's requests in it."""

    record: BatchRecord
    requests: Requests
    answered: int = 0


@dataclass
class _BatchRequester:
    """Sends batches and waits. A request is in `todo` or in one awaited batch until its outcome is received."""

    settings: BatchConfig
    ledger: BatchLedger
    server: BatchServer
    access: Access
    todo: Requests
    receive: Receive
    awaited: dict[str, _AwaitedBatch] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)  # names of this job's batches
    lost: set[str] = field(default_factory=set)  # names of other jobs' batches that will bring nothing
    tries: Counter[str] = field(default_factory=Counter)
    done: int = 0
    refusals: int = 0  # in a row, for lack of room
    not_before: float = 0.0
    last_line: str = ""
    changed: list[Parameters] = field(default_factory=list)  # parameters that the server refused

    def __post_init__(self) -> None:
        self.records = self.ledger.records
        self.takes, self.proven = Parameters.at(self.access.endpoint), False
        self.most_tokens = self.settings.enqueued_tokens  # in a batch

    def send(self) -> None:
        """Send and wait until all outcomes are received."""
        records = list(self._with_server_ids(self.records.read()))
        # after reading the records: the responses of a batch that was collected since are in the cache
        for key, reply in self.ledger.store.find(self.todo).items():
            self.receive(self.todo.pop(key), reply)
        self._join(records)
        while True:
            for live in list(self.awaited.values()):
                self._poll(live)
            if error := self.ledger.reservation.error:
                raise error
            self._submit_all_that_may_be()
            self._log_progress()
            if not self.todo and not self.awaited:
                return
            time.sleep(self.settings.poll_s)

    def _with_server_ids(self, records: Iterable[BatchRecord]) -> Iterator[BatchRecord]:
        """Yield the records of this endpoint's batches with their ids, which a killed job may not have learnt."""
        here = [record for record in records if record.base_url == self.access.address]
        yield from (record for record in here if record.batch)
        orphans = [
            again
            for record in here
            if record.batch is None and self.records.is_orphan(record) and (again := self.records.reread(record))
        ]
        unknown = {record.name for record in orphans if record.batch is None}
        found = self.server.find(unknown) if unknown else Found({}, complete=True)
        for record in orphans:
            if batch := record.batch or found.ids.get(record.name):
                yield replace(record, batch=batch)
            else:
                self.ledger.abandon(record, known=found.complete)

    def _join(self, records: Iterable[BatchRecord]) -> None:
        """Wait for other jobs' batches that hold a request of this job; collect the others that are done."""
        for record in records:
            if record.batch is None or record.name in self.awaited or record.name in self.lost:
                continue
            wanted = {key: self.todo.pop(key) for key in record.most_usd if key in self.todo}
            if wanted:
                self.awaited[record.name] = _AwaitedBatch(record, wanted)
                continue
            batch = self.server.retrieve(record.batch)
            if batch is None or batch.status == "failed":
                self.lost.add(record.name)
            elif batch.status in ENDED:
                self._collect(record, batch)

    def _submit_all_that_may_be(self) -> None:
        while self.todo and time.monotonic() >= self.not_before:
            requests, lines = self._next_batch()
            if not self._has_room(sum(map(_tokens, requests.values()))):
                return
            try:
                reserved = self.ledger.reserve(requests, allow_few=not self.sent)
            except OutOfBudget:
                if not self.awaited:
                    raise
                return  # batches under way may cost less than was reserved for them
            self._submit(reserved, b"".join(lines[: len(reserved)]))

    def _next_batch(self) -> tuple[Requests, list[bytes]]:
        """The requests of the next batch, as many as it takes, and their lines."""
        requests, lines = Requests(), list[bytes]()
        size = tokens = 0
        for key, request in self.todo.items():
            line = batch_line(request, self.takes)
            size, tokens = size + len(line), tokens + _tokens(request)
            too_large = size > self.settings.max_bytes or (self.most_tokens and tokens > self.most_tokens)
            if lines and (too_large or len(lines) == self.settings.max_requests):
                break
            requests[key] = request
            lines.append(line)
        return requests, lines

    def _has_room(self, tokens: int) -> bool:
        """Return whether the limit of enqueued tokens, which all jobs share, allows so many more."""
        window = self.settings.enqueued_tokens
        if window is None:
            return True
        records = [record for record in self.records.read() if record.base_url == self.access.address]
        enqueued = sum(record.tokens for record in records if record.batch and record.name not in self.lost)
        if enqueued and enqueued + tokens > window:
            self._join(records)  # the batch of a killed job counts until another job collects it
            return False
        return True

    def _submit(self, reserved: Mapping[str, float], lines: bytes) -> None:
        requests = {key: self.todo[key] for key in reserved}
        record = BatchRecord(
            name=secrets.token_hex(16), run=self.ledger.run, base_url=self.access.address, model=_model(requests),
            prices=self.ledger.prices, most_usd=reserved, tokens=sum(map(_tokens, requests.values())), at=time.time(),
        )  # fmt: skip
        with self.records.being_created(record):
            self.records.write(record)
            try:
                record = replace(record, batch=self.server.create(record.name, lines))
            except NotCreated:
                self.ledger.close(record, 0.0)
                raise
            self.records.write(record)
        self.sent.add(record.name)
        self.awaited[record.name] = _AwaitedBatch(record, requests)
        self.todo = {key: request for key, request in self.todo.items() if key not in requests}

    def _poll(self, live: _AwaitedBatch) -> None:
        record = live.record
        if not self.records.contains(record):  # another job has stored its responses
            self._settle(live, self.ledger.store.find(live.requests))
            return
        batch = self.server.retrieve(record.batch or "")
        if batch is None:
            self._give_up(live)
        elif batch.status == "failed":
            self._failed(live, batch)
        elif batch.status in ENDED:
            outcomes = self._collect(record, batch)
            self.proven = self.proven or any(isinstance(outcome, Response) for outcome in outcomes.values())
            self._settle(live, outcomes)
            if record.name in self.sent and (fatal := self.server.fatal_error(batch, outcomes)):
                raise fatal
        else:
            live.answered = batch.completed

    def _collect(self, record: BatchRecord, batch: BatchState) -> dict[str, Outcome]:
        code = MISSING if batch.status == "completed" else f"batch_{batch.status}"
        self.refusals, self.not_before = 0, 0.0  # the server has room again
        if self.most_tokens:
            most = self.most_tokens * 5 // 4 + 1
            self.most_tokens = min(most, self.settings.enqueued_tokens or most)
        return self.ledger.store_outcomes(record, self.server.outcomes(batch), Failure(code, "in no file of the batch"))

    def _failed(self, live: _AwaitedBatch, batch: BatchState) -> None:
        """Close a batch that failed as a whole: it costs nothing, and its requests are sent again."""
        self.ledger.close(live.record, 0.0)
        self._settle(live, {})
        if any(code == NO_ROOM for code, _ in batch.errors):
            self._wait_for_room(live.record.tokens)
            return
        error = self.server.failure(batch)
        if live.record.name in self.sent:
            raise error
        _log.warning("batches: %s", error)  # another job's batch; its requests are sent again

    def _give_up(self, live: _AwaitedBatch) -> None:
        what = f"{self.access.setting} does not know the batch {live.record.batch}, or not with this key"
        if live.record.name in self.sent:
            raise EndpointError(f"{what}: run snakemake again")
        _log.warning("batches: %s; its requests are sent again", what)
        self.lost.add(live.record.name)
        self._settle(live, {})

    def _settle(self, live: _AwaitedBatch, outcomes: Mapping[str, Outcome]) -> None:
        """Pass the outcomes on; requests without an outcome, and failures worth a retry, are sent again."""
        del self.awaited[live.record.name]
        self.done += 1
        for key, request in live.requests.items():
            outcome = outcomes.get(key)
            if outcome is None or (isinstance(outcome, Failure) and self._is_retried(key, outcome)):
                self.todo[key] = request
            else:
                self.receive(request, outcome)

    def _is_retried(self, key: str, failure: Failure) -> bool:
        self.tries[key] += 1
        if self.tries[key] > self.access.endpoint.retries:
            return False
        status = failure.code.removeprefix("http-")
        if not status.isdecimal():
            return True
        error = HttpError(int(status), text=failure.detail)
        return error.is_retryable or self._change_parameters(error, self.tries[key])

    def _change_parameters(self, error: HttpError, tries: int) -> bool:
        """Return whether a refused line may succeed with other parameters, which are sent from now on."""
        if error.status not in REFUSED:
            return False
        if tries <= len(self.changed):  # another line of the same batch has taught them
            return True
        if other := self.takes.instead(error, self.changed, proven=self.proven):
            _log.warning("batches: the server refuses a parameter: %s from now on", other.changes(self.takes))
            self.changed, self.takes = [*self.changed, self.takes], other
        return other is not None

    def _wait_for_room(self, tokens: int) -> None:
        """Wait longer each time. A batch that is refused while no other runs may be too large by itself."""
        self.refusals += 1
        wait_s = min(LONGEST_WAIT_S, self.settings.poll_s * 2.0 ** min(self.refusals, 20))
        self.not_before = time.monotonic() + wait_s
        if not self.awaited:
            self.most_tokens = max(1, tokens // 2)
        _log.warning(
            "batches: the account's queue has no room for about %s tokens more; the next try is in %.0f s. "
            "summaries.batch.enqueued_tokens can name the account's limit", f"{tokens:,}", wait_s,
        )  # fmt: skip

    def _log_progress(self) -> None:
        waiting = len(self.todo) + sum(len(live.requests) - live.answered for live in self.awaited.values())
        line = (
            f"batches: {self.done + len(self.awaited)} submitted, {self.done} done, {max(0, waiting):,} requests to go"
        )
        if line != self.last_line:
            _log.info("%s", line)
        self.last_line = line


def _model(requests: Requests) -> str:
    return next(iter(requests.values())).sampling.model  # a job uses one model


def _tokens(request: Request) -> int:
    return -(-request.most_prompt_tokens // BYTES_A_TOKEN)
