"""The `openai-batch` provider: OpenAI's Batch API, which answers within a day at half the price.

A batch is paid for whether or not its job lives on. So it has a record in `<summaries.store>/batches` before the server
has it, and until its replies are in the store. A job first looks at the records that others left: it waits for the
batches that hold one of its requests, and takes the replies of all that are done.
"""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from openai.types import Batch

from icsd.config import BatchConfig
from icsd.llm.batch_records import MISSING, Accounts, Record
from icsd.llm.batch_server import BatchServer, NotCreated, batch_line
from icsd.llm.budget import OutOfBudget
from icsd.llm.openai_api import Access, Endpoint, EndpointError, worth_again
from icsd.llm.request import Failure, Outcome, Request

BYTES_A_TOKEN = 4  # of English; an estimate, for the window alone
LONGEST_WAIT_S = 600.0  # before a batch that the server had no room for is submitted again
FORGOTTEN_S = 3600.0  # an upload takes minutes: the job that wrote an older record was killed before there was a batch
UNDER_WAY = frozenset(("validating", "in_progress", "finalizing", "cancelling"))
NO_ROOM = "token_limit_exceeded"
_log = logging.getLogger(__name__)
Receive = Callable[[Request, Outcome], None]
Requests = dict[str, Request]


def ask(
    requests: Iterable[Request], endpoint: Endpoint, settings: BatchConfig, accounts: Accounts, receive: Receive
) -> None:
    """Send the requests in batches and wait; `receive` gets each one's outcome, when it is durable in the store.

    A line that fails after the retries is a Failure. EndpointError: the endpoint refuses, or a batch of this call
    failed or was cancelled; the others go on, and the next call takes their replies. OutOfBudget: after all that could
    be paid is answered. ConfigError: no key.
    """
    todo = {request.key: request for request in requests}
    if todo:
        access = Access.to(endpoint)
        with BatchServer(access, _model(todo)) as server:
            _Sender(settings, accounts, server, access, todo, receive).send()


@dataclass
class _Live:
    """A batch that this job waits for, with those of its requests that the batch holds."""

    record: Record
    requests: Requests
    answered: int = 0


@dataclass
class _Sender:
    """Each request is in `todo` or in one live batch, until its outcome is received."""

    settings: BatchConfig
    accounts: Accounts
    server: BatchServer
    access: Access
    todo: Requests
    receive: Receive
    live: dict[str, _Live] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)  # names of the batches that this job submitted
    fruitless: set[str] = field(default_factory=set)  # of those that will bring nothing, and are others' to close
    tries: Counter[str] = field(default_factory=Counter)
    done: int = 0
    refusals: int = 0  # for want of room, in a row
    not_before: float = 0.0
    told: str = ""

    def __post_init__(self) -> None:
        self.records = self.accounts.records
        self.structured = self.access.endpoint.structured_output
        self.most_tokens = self.settings.enqueued_tokens  # of a batch

    def send(self) -> None:
        """Until all are received."""
        left = list(self._identified(self.records.open()))
        # after the look at the records: a batch that was collected since has its replies in the store
        for key, reply in self.accounts.store.find(self.todo).items():
            self.receive(self.todo.pop(key), reply)
        self._join(left)
        while True:
            for live in list(self.live.values()):
                self._poll(live)
            self._submit_what_may_be()
            self._tell()
            if not self.todo and not self.live:
                return
            time.sleep(self.settings.poll_s)

    def _identified(self, records: Iterable[Record]) -> Iterator[Record]:
        """Those that are batches of this endpoint: a killed job did not learn the id of its last."""
        here = [record for record in records if record.base_url == self.access.address]
        unknown = {record.name for record in here if record.batch is None}
        found = self.server.find(unknown) if unknown else {}
        for record in here:
            batch = record.batch or found.get(record.name)
            if batch:
                yield replace(record, batch=batch)
            elif time.time() - record.at > FORGOTTEN_S:
                self.accounts.close(record, 0.0)

    def _join(self, records: Iterable[Record]) -> None:
        """Wait for those batches of other jobs that hold a request of this one; the rest get one look."""
        for record in records:
            if record.batch is None or record.name in self.live or record.name in self.fruitless:
                continue
            wanted = {key: self.todo.pop(key) for key in record.most_usd if key in self.todo}
            if wanted:
                self.live[record.name] = _Live(record, wanted)
                continue
            batch = self.server.retrieve(record.batch)
            if batch is None or batch.status == "failed":
                self.fruitless.add(record.name)
            elif batch.status not in UNDER_WAY:
                self._collect(record, batch)

    def _submit_what_may_be(self) -> None:
        while self.todo and time.monotonic() >= self.not_before:
            requests, lines = self._next_batch()
            if not self._has_room(sum(map(_tokens, requests.values()))):
                return
            try:
                reserved = self.accounts.reserve(requests, small_too=not self.sent)
            except OutOfBudget:
                if not self.live:
                    raise
                return  # batches under way will have cost less than they may
            self._submit(reserved, b"".join(lines[: len(reserved)]))

    def _next_batch(self) -> tuple[Requests, list[bytes]]:
        """As many requests as one batch takes, and their lines."""
        requests, lines = Requests(), list[bytes]()
        size = tokens = 0
        for key, request in self.todo.items():
            line = batch_line(request, self.structured)
            size, tokens = size + len(line), tokens + _tokens(request)
            too_large = size > self.settings.max_bytes or (self.most_tokens and tokens > self.most_tokens)
            if lines and (too_large or len(lines) == self.settings.max_requests):
                break
            requests[key] = request
            lines.append(line)
        return requests, lines

    def _has_room(self, tokens: int) -> bool:
        """Whether the window takes so many more; it is one of all jobs."""
        window = self.settings.enqueued_tokens
        if window is None:
            return True
        records = [record for record in self.records.open() if record.base_url == self.access.address]
        enqueued = sum(record.tokens for record in records if record.batch and record.name not in self.fruitless)
        if enqueued and enqueued + tokens > window:
            self._join(records)  # a batch whose job was killed fills the window until somebody collects it
            return False
        return True

    def _submit(self, reserved: Mapping[str, float], lines: bytes) -> None:
        requests = {key: self.todo[key] for key in reserved}
        record = Record(
            name=secrets.token_hex(16), run=self.accounts.run, base_url=self.access.address, model=_model(requests),
            prices=self.accounts.prices, most_usd=reserved, tokens=sum(map(_tokens, requests.values())), at=time.time(),
        )  # fmt: skip
        self.records.write(record)
        try:
            record = replace(record, batch=self.server.create(record.name, lines))
        except NotCreated:
            self.accounts.close(record, 0.0)
            raise
        self.records.write(record)
        self.sent.add(record.name)
        self.live[record.name] = _Live(record, requests)
        self.todo = {key: request for key, request in self.todo.items() if key not in requests}

    def _poll(self, live: _Live) -> None:
        record = live.record
        if not self.records.holds(record):  # another job has put its replies into the store
            self._settle(live, self.accounts.store.find(live.requests))
            return
        batch = self.server.retrieve(record.batch or "")
        if batch is None:
            self._give_up(live)
        elif batch.status == "failed":
            self._failed(live, batch)
        elif batch.status not in UNDER_WAY:
            outcomes = self._collect(record, batch)
            self._settle(live, outcomes)
            end = self.server.end_of_all(batch, outcomes)
            if end and record.name in self.sent:
                raise end
        elif batch.request_counts:
            live.answered = batch.request_counts.completed

    def _collect(self, record: Record, batch: Batch) -> dict[str, Outcome]:
        code = MISSING if batch.status == "completed" else f"batch_{batch.status}"
        self.refusals, self.not_before = 0, 0.0  # there is room again
        if self.most_tokens:
            most = self.most_tokens * 5 // 4 + 1
            self.most_tokens = min(most, self.settings.enqueued_tokens or most)
        return self.accounts.keep(record, self.server.outcomes(batch), Failure(code, "in no file of the batch"))

    def _failed(self, live: _Live, batch: Batch) -> None:
        """None of its requests was begun, and it costs nothing."""
        self.accounts.close(live.record, 0.0)
        self._settle(live, {})
        if any(error.code == NO_ROOM for error in (batch.errors and batch.errors.data) or ()):
            self._wait_for_room(live.record.tokens)
            return
        error = self.server.failure(batch)
        if live.record.name in self.sent:
            raise error
        _log.warning("batches: %s", error)  # of another job; its requests are sent again

    def _give_up(self, live: _Live) -> None:
        what = f"{self.access.place} does not know the batch {live.record.batch}, or not with this key"
        if live.record.name in self.sent:
            raise EndpointError(f"{what}: run snakemake again")
        _log.warning("batches: %s; its requests are sent again", what)
        self.fruitless.add(live.record.name)
        self._settle(live, {})

    def _settle(self, live: _Live, outcomes: Mapping[str, Outcome]) -> None:
        """Hand the outcomes on; what failed, and what has none, is to be sent again."""
        del self.live[live.record.name]
        self.done += 1
        for key, request in live.requests.items():
            outcome = outcomes.get(key)
            if outcome is None or (isinstance(outcome, Failure) and self._again(key, outcome)):
                self.todo[key] = request
            else:
                self.receive(request, outcome)

    def _again(self, key: str, failure: Failure) -> bool:
        self.tries[key] += 1
        if self.tries[key] > self.access.endpoint.retries:
            return False
        status = failure.code.removeprefix("http-")
        if status == "400" and "response_format" in failure.detail:
            if self.structured:
                _log.info("batches: the server takes no JSON schema; answers are checked here alone")
            self.structured = False
            return True
        return not status.isdecimal() or worth_again(int(status))

    def _wait_for_room(self, tokens: int) -> None:
        """Longer each time. A batch that is refused beside no other of this job may be too large by itself."""
        self.refusals += 1
        wait_s = min(LONGEST_WAIT_S, self.settings.poll_s * 2.0 ** min(self.refusals, 20))
        self.not_before = time.monotonic() + wait_s
        if not self.live:
            self.most_tokens = max(1, tokens // 2)
        _log.warning(
            "batches: the account's queue has no room for about %s tokens more; the next try is in %.0f s. "
            "summaries.batch.enqueued_tokens can name the account's limit", f"{tokens:,}", wait_s,
        )  # fmt: skip

    def _tell(self) -> None:
        waiting = len(self.todo) + sum(len(live.requests) - live.answered for live in self.live.values())
        line = f"batches: {self.done + len(self.live)} submitted, {self.done} done, {max(0, waiting):,} requests to go"
        if line != self.told:
            _log.info("%s", line)
        self.told = line


def _model(requests: Requests) -> str:
    return next(iter(requests.values())).sampling.model  # a job asks one


def _tokens(request: Request) -> int:
    return -(-request.most_prompt_tokens // BYTES_A_TOKEN)
