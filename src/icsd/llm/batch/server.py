"""OpenAI's API of files and batches: lines in, the id of a batch, outcomes out."""

import json
import logging
import random
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self

import openai
from openai.types import Batch
from openai.types.chat import ChatCompletion

from icsd.llm.endpoint import (
    FATAL_STATUSES,
    NO_CREDIT_CODES,
    NO_KEY,
    Access,
    EndpointError,
    is_fatal,
    read_response,
    request_body,
)
from icsd.llm.request import Failure, Outcome, Request

COMPLETIONS: Final = "/v1/chat/completions"
LABEL = "icsd"  # the key of our own name in a batch's metadata
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
OTHERS_GO_ON = "What was answered is stored, and other batches go on: run snakemake again to collect their responses"
_log = logging.getLogger(__name__)
Lines = dict[str, Outcome]


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
                file = self._client.files.create(file=(f"{name}.jsonl", lines), purpose="batch")
        except EndpointError as error:
            raise NotCreated(str(error)) from None
        with self._errors(refused=NotCreated):
            return self._create(name, file.id)

    def find(self, names: Collection[str]) -> dict[str, str]:
        """The ids of the server's batches with those names, by name."""
        found: dict[str, str] = {}
        with self._errors():
            for batch in self._client.batches.list(limit=100):
                name = (batch.metadata or {}).get(LABEL, "")
                if name in names:
                    found[name] = batch.id
                if len(found) == len(names):
                    break
        return found

    def retrieve(self, batch_id: str) -> Batch | None:
        """The state of a batch; None if this key's account does not have it."""
        with self._errors():
            try:
                return self._client.batches.retrieve(batch_id)
            except openai.NotFoundError:
                return None

    def outcomes(self, batch: Batch) -> Lines:
        """The outcomes of the lines in the batch's files, by key."""
        found: Lines = {}
        for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
            # splitlines of bytes splits only at \n and \r, which JSON escapes
            for line in self._content(file_id).splitlines():
                found.update(self._read(line))
        return found

    def _content(self, file_id: str) -> bytes:
        with self._errors():
            try:
                return self._client.files.content(file_id).content
            except openai.NotFoundError:  # the server keeps files for a month
                _log.warning("batches: %s no longer has the file %s", self._access.setting, file_id)
                return b""

    def failure(self, batch: Batch) -> EndpointError:
        """The error of a batch that was refused as a whole."""
        errors = (batch.errors and batch.errors.data) or []
        why = self._access.redacted("; ".join(f"{error.code}: {error.message}" for error in errors))
        return EndpointError(f"{self._access.setting}: the batch {batch.id} failed ({why}). {OTHERS_GO_ON}")

    def fatal_error(self, batch: Batch, outcomes: Mapping[str, Outcome]) -> EndpointError | None:
        """The error after which no batch is sent: this one was cancelled, or the account was refused."""
        if batch.status == "cancelled":
            return EndpointError(f"{self._access.setting}: the batch {batch.id} was cancelled. {OTHERS_GO_ON}")
        codes = {outcome.code for outcome in outcomes.values() if isinstance(outcome, Failure)}
        if codes & NO_CREDIT_CODES:
            return self._access.refusal(429, min(codes & NO_CREDIT_CODES), self._model)
        statuses = [status for status in sorted(FATAL_STATUSES) if f"http-{status}" in codes]
        return self._access.refusal(statuses[0], None, self._model) if statuses else None

    def _create(self, name: str, file_id: str) -> str:
        once, tries = self._client.with_options(max_retries=0).batches, 0
        while True:
            try:
                return once.create(
                    input_file_id=file_id, endpoint=COMPLETIONS, completion_window="24h", metadata={LABEL: name}
                ).id
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
                if tries == self._retries or (isinstance(error, openai.APIStatusError) and is_fatal(error)):
                    raise
            time.sleep(min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**tries) * random.uniform(0.5, 1.0))
            # it may have been created and only the answer lost; a second one would be paid again
            if found := self.find({name}):
                return found[name]
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
        if is_fatal(error) and error.status_code != 404:
            return str(self._access.refusal(error.status_code, error.code, self._model))
        mend = "responses are stored; run snakemake again, or set summaries.provider to openai if it has no Batch API"
        return f"{self._access.setting} answers {error.status_code} ({self._access.redacted(error.message)}): {mend}"

    def _read(self, line: bytes) -> Lines:
        """The outcome in a line by its key; empty if the line names no request."""
        try:
            values = json.loads(line)
            key = str(values["custom_id"])
        except (ValueError, TypeError, KeyError):
            return {}
        response, error = values.get("response"), values.get("error")
        if error or not isinstance(response, Mapping):
            return {key: self._failure("no-response", error)}
        return {key: self._answer(response.get("status_code"), response.get("body"))}

    def _answer(self, status: Any, body: Any) -> Outcome:
        body = body if isinstance(body, Mapping) else {}
        if status == 200:
            reply = read_response(ChatCompletion.construct(**body))
            return reply or Failure("unreadable-reply", "the line is no chat completion")
        failure = self._failure(f"http-{status}", body.get("error"))
        # a code that ends the stage, or else the status, as the provider `openai` stores it
        return failure if failure.code in NO_CREDIT_CODES else Failure(f"http-{status}", failure.detail)

    def _failure(self, code: str, error: Any) -> Failure:
        error = error if isinstance(error, Mapping) else {}
        code, detail = str(error.get("code") or code), str(error.get("message") or "")
        return Failure(self._access.redacted(code), self._access.redacted(detail))


def batch_line(request: Request, structured: bool) -> bytes:
    """The line of a request in a batch's file."""
    line = {
        "custom_id": request.key, "method": "POST", "url": COMPLETIONS, "body": request_body(request, structured),
    }  # fmt: skip
    return json.dumps(line).encode() + b"\n"
