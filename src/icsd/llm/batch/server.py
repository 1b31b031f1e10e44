"""OpenAI's API of files and batches: lines in, the id of a batch, outcomes out."""

import json
import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final, Self

import openai

from icsd.llm.batch.reading import LABEL, NO_CREDIT, BatchState, Lines, read_batch, read_file_id, read_line
from icsd.llm.client import request_body
from icsd.llm.endpoint import NO_KEY, Access, EndpointError
from icsd.llm.parameters import Parameters
from icsd.llm.problems import FATAL_STATUSES, HttpError, of_client
from icsd.llm.replies import UnreadableReply, parse_json
from icsd.llm.request import Failure, Outcome, Request, Response
from icsd.llm.throttle import backoff_s

COMPLETIONS: Final = "/v1/chat/completions"
OTHERS_GO_ON = "What was answered is stored, and other batches go on: run snakemake again to collect their responses"
MOST_PAGES = 1000  # of 100 batches, in a list
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """The ids of batches by our names. `complete`: a name without an id has no batch on the server."""

    ids: Mapping[str, str]
    complete: bool


class NotCreated(EndpointError):
    """The endpoint refused a batch, and certainly does not have it."""


class BatchServer:
    """A client of the Batch API; its methods raise EndpointError if the retries end in a refusal or in silence."""

    def __init__(self, access: Access, model: str) -> None:
        self._access, self._model, self._retries = access, model, access.endpoint.retries
        self._client = openai.OpenAI(
            api_key=access.secret or NO_KEY,
            base_url=access.endpoint.base_url,
            timeout=access.endpoint.timeout_s,
            max_retries=self._retries,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def create(self, name: str, lines: bytes) -> str:
        """Create a batch under our own `name`, and return its id.

        NotCreated if there is no batch; after another EndpointError there may be one.
        """
        try:
            with self._errors():
                sent = (f"{name}.jsonl", lines)
                file_id = read_file_id(
                    parse_json(self._client.files.with_raw_response.create(file=sent, purpose="batch").content)
                )
        except EndpointError as error:
            raise NotCreated(str(error)) from None
        with self._errors(refused=NotCreated):
            return self._create(name, file_id)

    def find(self, names: Collection[str]) -> Found:
        """The ids of the server's batches with those names, by name.

        A server that keeps no metadata is searched by the name of the batch's file, which is ours too.
        """
        with self._errors():
            try:
                return self._find(names)
            except openai.NotFoundError:  # it cannot list batches
                return Found({}, complete=False)

    def _find(self, names: Collection[str]) -> Found:
        found: dict[str, str] = {}
        nameless, keeps_metadata, pages = list[BatchState](), False, self._pages()
        for batch in chain.from_iterable(islice(pages, MOST_PAGES)):
            if batch.name is None:
                nameless.append(batch)
                continue
            keeps_metadata = True
            if batch.name in names:
                found[batch.name] = batch.id
            if len(found) == len(names):
                return Found(found, complete=True)
        all_seen = next(pages, None) is None
        if keeps_metadata:  # the nameless ones are of another tool: ours have metadata
            return Found(found, all_seen)
        files = {batch.id: self._file_name(batch.input_file) for batch in nameless}
        found |= {name: batch_id for batch_id, name in files.items() if name is not None and name in names}
        return Found(found, complete=len(found) == len(names) or (all_seen and None not in files.values()))

    def _pages(self) -> Iterator[list[BatchState]]:
        """Yield the server's batches a page at a time, the newest first."""
        after = ""
        while True:
            page = parse_json(
                self._client.batches.with_raw_response.list(limit=100, after=after or openai.omit).content
            )
            listed = page.get("data") if isinstance(page, Mapping) else None
            if not isinstance(listed, list):
                raise UnreadableReply("the reply is no list of batches")
            batches = [read_batch(each) for each in listed]
            yield batches
            if not batches or page.get("has_more") is not True or batches[-1].id == after:
                return
            after = batches[-1].id

    def _file_name(self, file_id: str | None) -> str | None:
        """Our name of a batch in the name of its file; None if the server does not tell the file's name."""
        try:
            file = parse_json(self._client.files.with_raw_response.retrieve(file_id).content) if file_id else None
        except openai.NotFoundError:
            return None
        name = file.get("filename") if isinstance(file, Mapping) else None
        return name.removesuffix(".jsonl") if isinstance(name, str) and name else None

    def retrieve(self, batch_id: str) -> BatchState | None:
        """The state of a batch; None if this key's account does not have it."""
        with self._errors():
            try:
                return read_batch(parse_json(self._client.batches.with_raw_response.retrieve(batch_id).content))
            except openai.NotFoundError:
                return None

    def outcomes(self, batch: BatchState) -> Lines:
        """The outcomes of the lines in the batch's files, by key; of several lines of one key, the first response."""
        found: Lines = {}
        for file_id in batch.files:
            # splitlines of bytes splits only at \n and \r, which JSON escapes
            for line in self._content(file_id).splitlines():
                for key, outcome in read_line(line, self._access.redacted).items():
                    if not isinstance(found.get(key), Response):
                        found[key] = outcome
        return found

    def _content(self, file_id: str) -> bytes:
        with self._errors():
            try:
                return self._client.files.content(file_id).content
            except openai.NotFoundError:  # the server keeps files for a month
                _log.warning("batches: %s no longer has the file %s", self._access.setting, file_id)
                return b""

    def failure(self, batch: BatchState) -> EndpointError:
        """The error of a batch that was refused as a whole."""
        why = self._access.redacted("; ".join(f"{code}: {message}" for code, message in batch.errors))
        return EndpointError(f"{self._access.setting}: the batch {batch.id} failed ({why}). {OTHERS_GO_ON}")

    def fatal_error(self, batch: BatchState, outcomes: Mapping[str, Outcome]) -> EndpointError | None:
        """The error after which no batch is sent: this one was cancelled, or the account was refused."""
        if batch.status == "cancelled":
            return EndpointError(f"{self._access.setting}: the batch {batch.id} was cancelled. {OTHERS_GO_ON}")
        codes = {outcome.code for outcome in outcomes.values() if isinstance(outcome, Failure)}
        if NO_CREDIT in codes:
            return self._access.refusal(HttpError(402), self._model)
        statuses = [status for status in sorted(FATAL_STATUSES) if f"http-{status}" in codes]
        return self._access.refusal(HttpError(statuses[0]), self._model) if statuses else None

    def _create(self, name: str, file_id: str) -> str:
        once, tries = self._client.with_options(max_retries=0).batches.with_raw_response, 0
        while True:
            try:
                created = once.create(
                    input_file_id=file_id, endpoint=COMPLETIONS, completion_window="24h", metadata={LABEL: name}
                )
                return read_batch(parse_json(created.content)).id
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
                if tries == self._retries or (isinstance(error, openai.APIStatusError) and of_client(error).is_fatal):
                    raise
            except UnreadableReply:
                if tries == self._retries:
                    raise
            time.sleep(backoff_s(tries + 1))
            # it may have been created and only the answer lost; a second one would be paid again
            found = self.find({name})
            if name in found.ids:
                return found.ids[name]
            if not found.complete:
                raise EndpointError(
                    f"{self._access.setting}: the answer to the creation of a batch was lost, and whether there is one "
                    "cannot be known, because the server tells neither metadata nor file names. Look at the server, "
                    "then run snakemake again: it sends the batch's requests once more"
                )
            tries += 1

    @contextmanager
    def _errors(self, refused: type[EndpointError] = EndpointError) -> Iterator[None]:
        """Turn the client's errors into ours, without the key; `refused` is the class for an HTTP error below 500."""
        try:
            yield
        except openai.APIConnectionError as error:
            raise self._access.unreachable(self._access.redacted(str(error.__cause__ or error))) from None
        except openai.APIStatusError as error:
            kind = refused if error.status_code < 500 else EndpointError
            raise kind(self._refusal(error)) from None
        except (openai.OpenAIError, ValueError) as error:
            what = self._access.redacted(f"{type(error).__name__}: {error}")
            raise EndpointError(f"{self._access.setting} cannot be understood ({what}): has it a Batch API?") from None

    def _refusal(self, error: openai.APIStatusError) -> str:
        if of_client(error).is_fatal and error.status_code != 404:
            return str(self._access.refusal(of_client(error), self._model))
        mend = "responses are stored; run snakemake again, or set summaries.provider to openai if it has no Batch API"
        return f"{self._access.setting} answers {error.status_code} ({self._access.redacted(error.message)}): {mend}"


def batch_line(request: Request, takes: Parameters) -> bytes:
    """The line of a request in a batch's file."""
    line = {
        "custom_id": request.key, "method": "POST", "url": COMPLETIONS, "body": request_body(request, takes),
    }  # fmt: skip
    return json.dumps(line).encode() + b"\n"
