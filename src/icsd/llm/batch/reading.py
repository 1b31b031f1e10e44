"""What a server says of batches, read at the edge: the state of a batch, and the outcome in a line of its files."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from icsd.llm.problems import of_body
from icsd.llm.replies import UnreadableReply, parse_json, read_completion
from icsd.llm.request import Failure, Outcome, Response

LABEL = "icsd"  # the key of our own name in a batch's metadata
NO_CREDIT = "no-credit"  # of a line, where the account cannot pay
_CODE = re.compile(r"[\w.-]{1,60}")
Lines = dict[str, Outcome]
Redact = Callable[[str], str]


@dataclass(frozen=True)
class BatchState:
    """A batch on the server. `name` is our own in its metadata; None if it has no metadata at all."""

    id: str
    status: str
    name: str | None
    input_file: str | None
    files: tuple[str, ...]  # output and errors
    completed: int  # lines
    errors: tuple[tuple[str, str], ...]  # code and message of a batch that was refused


def read_batch(body: Any) -> BatchState:
    """The state of a batch; UnreadableReply if it has no id or status."""
    fields = body if isinstance(body, Mapping) else {}
    batch_id, status = _text(fields, "id"), _text(fields, "status")
    if not batch_id or not status:
        raise UnreadableReply("the reply is no batch")
    metadata = _mapping(fields, "metadata")
    completed = _mapping(fields, "request_counts").get("completed")
    errors = _mapping(fields, "errors").get("data")
    return BatchState(
        batch_id,
        status,
        str(metadata.get(LABEL, "")) if metadata else None,
        _text(fields, "input_file_id"),
        tuple(filter(None, (_text(fields, "output_file_id"), _text(fields, "error_file_id")))),
        completed if isinstance(completed, int) else 0,
        tuple(
            (str(error.get("code")), str(error.get("message")))
            for error in (errors if isinstance(errors, list) else ())
            if isinstance(error, Mapping)
        ),
    )


def read_file_id(body: Any) -> str:
    """The id of a file that was sent; UnreadableReply if there is none."""
    file_id = _text(body, "id") if isinstance(body, Mapping) else None
    if not file_id:
        raise UnreadableReply("the reply names no file")
    return file_id


def read_line(line: bytes, redact: Redact) -> Lines:
    """The outcome in a line by its key; empty if the line names no request."""
    try:
        values = parse_json(line)
    except UnreadableReply:
        return {}
    key = values.get("custom_id") if isinstance(values, Mapping) else None
    if not isinstance(key, str):
        return {}
    response, error = values.get("response"), values.get("error")
    if isinstance(response, Mapping):  # whatever is said beside it: it may hold a reply, which is paid for
        return {key: _answer(str(response.get("status_code")), response.get("body"), redact)}
    if error:
        return {key: _failure("no-response", error, redact)}
    return {key: Failure("unreadable-reply", "the line: it has no response and no error")}


def _answer(status: str, body: Any, redact: Redact) -> Outcome:
    if status == "200":
        try:
            return read_completion(body)
        except UnreadableReply as error:
            return Failure("unreadable-reply", redact(f"the line: {error}"))
    code = int(status) if status.isdecimal() and len(status) == 3 else 0
    said = body.get("error") if isinstance(body, Mapping) else None
    problem = of_body(code, said)
    if problem.names_refusal:
        return Response("", redact(problem.message or problem.code), completion_tokens=0)
    if problem.no_credit:
        return Failure(NO_CREDIT, redact(problem.message))
    param = said.get("param") if isinstance(said, Mapping) else None
    named = f"{param}: " if isinstance(param, str) and param not in problem.message else ""
    return Failure(f"http-{code or 'unknown'}", redact(named + problem.message))


def _failure(code: str, error: Any, redact: Redact) -> Failure:
    error = error if isinstance(error, Mapping) else {}
    named, detail = redact(str(error.get("code") or "")), redact(str(error.get("message") or ""))
    return Failure(named if _CODE.fullmatch(named) else code, detail)


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}
