"""Replies of `chat_server`: behaviours, answers, files and batches in OpenAI's formats. No code here uses a socket."""

import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import cycle, islice
from typing import Any, Literal

Body = dict[str, Any]
End = Literal["completed", "failed", "expired", "token-limit"]
COMPLETIONS = "/v1/chat/completions"
CREATED = 1_700_000_000  # not the clock: an answer depends on its request alone
MAX_INDEX, MAX_WORDS, LONG_WORDS = 5, 50, 300
IN_A_ROW = 2  # transport faults that `faults` deals one body without a break
_CAPTION = re.compile(r"^<(\d+)> (.*)$", re.MULTILINE)
_ORDER = re.compile(r"\bignore\b.*?\band\b(.*)", re.IGNORECASE)


class Kind(StrEnum):
    """Kind of a reply: correct, or wrong in one way."""

    OK = "ok"
    STATUS = "http"  # an error status in place of the answer
    CUT = "cut"  # the connection is closed in the middle of the body
    DRIP = "drip"  # a byte of white space every 0.2 s, for ever
    SLOW = "slow"  # the right answer after `delay_s`
    TRUNCATED = "truncated"  # half of the JSON, finish_reason stop
    LENGTH = "length"  # half of the JSON, finish_reason length
    PROSE = "prose"
    FENCED = "fenced"
    OUT_OF_RANGE = "out-of-range"
    DOUBLED = "doubled"
    LONG = "long"
    REFUSAL = "refusal"
    EMPTY = "empty"
    CHINESE = "chinese"
    CONTROL = "control"
    OBEYS = "obeys"  # free text if a caption says "ignore ... and ...", else as OK
    MISSING = "missing"  # a batch's line that is in neither file
    TURNED_AWAY = "turned-away"  # what the server's settings refuse before the script is asked


@dataclass(frozen=True)
class Behaviour:
    """Reply to one request; every kind can have `delay_s`."""

    kind: Kind
    status: int = 200
    retry_after: float | None = None
    delay_s: float = 0.0

    @property
    def name(self) -> str:
        """For logs: `cut`, `http-429`, `http-429-wait` (with Retry-After), `turned-away-401`."""
        status = "" if self.status == 200 else f"-{self.status}"
        return f"{self.kind}{status}{'' if self.retry_after is None else '-wait'}"

    @property
    def transport(self) -> bool:
        """True if a retry helps; a slow reply counts, since the client may time out."""
        return self.kind in (Kind.STATUS, Kind.CUT, Kind.DRIP, Kind.SLOW)

    @property
    def whole(self) -> bool:
        """True if the client receives a whole 200 when it waits."""
        return self.status == 200 and self.kind not in (Kind.CUT, Kind.DRIP, Kind.MISSING)


Script = Callable[[int, int, Body], Behaviour]  # arrival number, earlier arrivals of this body, body
Behave = Callable[[Script, int, Body, str], Behaviour]  # what a script says of a number and a body of that digest
OK = Behaviour(Kind.OK)
NO_SCHEMA = Behaviour(Kind.TURNED_AWAY, 400)


def status(code: int, retry_after: float | None = None) -> Behaviour:
    """An error status, with the seconds of its Retry-After."""
    return Behaviour(Kind.STATUS, code, retry_after)


def always(behaviour: Behaviour) -> Script:
    """The script of one behaviour."""
    return lambda number, attempt, body: behaviour


def all_faults(slow_s: float = 0.5, retry_after_s: float = 0.1) -> tuple[Behaviour, ...]:
    """Every fault once; 429 with and without Retry-After."""
    statuses = (status(429), status(429, retry_after_s), status(500), status(503))
    bare = [kind for kind in Kind if kind not in (Kind.OK, Kind.STATUS, Kind.SLOW, Kind.MISSING, Kind.TURNED_AWAY)]
    return (*statuses, Behaviour(Kind.SLOW, delay_s=slow_s), *map(Behaviour, bare))


def faults(share: float, seed: int, among: Sequence[Behaviour] | None = None) -> Script:
    """A fault for `share` of the requests, evenly `among` all; the order of arrival plays no part.

    What an answer says depends on its body alone, so that a client that was killed hears the same again. A transport
    fault depends on the attempt too, and a slow reply says what a fast one would; after two transport faults in a row
    for one body, the third request is answered.
    """
    choices = all_faults() if among is None else list(among)
    failing, odd = [each for each in choices if each.transport], [each for each in choices if not each.transport]

    def roll(kinds: list[Behaviour], text: str) -> Behaviour | None:
        sha = hashlib.sha256(f"{seed}:{text}".encode()).digest()
        chance, choice = int.from_bytes(sha[:8], "big") / 2**64, int.from_bytes(sha[8:16], "big")
        return kinds[choice % len(kinds)] if kinds and chance < share * len(kinds) / len(choices) else None

    def script(number: int, attempt: int, body: Body) -> Behaviour:
        key, in_a_row, failed = digest(body), 0, None
        for earlier in range(attempt + 1):
            failed = roll(failing, f"{earlier}:{key}") if in_a_row < IN_A_ROW else None
            in_a_row = in_a_row + 1 if failed else 0
        said = roll(odd, key)
        if said and failed and failed.kind == Kind.SLOW:
            return replace(said, delay_s=failed.delay_s)
        return failed or said or OK

    return script


def digest(body: Body) -> str:
    """SHA-256 of the canonical JSON: keys sorted, no white space, ASCII."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Problem(Exception):
    """An error reply."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, wait: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.wait = status, param, code, wait

    @property
    def body(self) -> Body:
        """OpenAI's error object."""
        kind = {429: "requests", 500: "server_error", 503: "server_error"}.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def problem_of(behaviour: Behaviour) -> Problem:
    """The error reply of a behaviour whose status is none of success."""
    if behaviour == NO_SCHEMA:
        return Problem(400, "Invalid parameter: 'response_format' is not supported here.", param="response_format")
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(behaviour.status)
    return Problem(behaviour.status, f"scripted {behaviour.name}", code=code, wait=behaviour.retry_after)


def prompt_words(body: Body) -> int:
    """White-space separated words of all messages: the prompt's tokens here."""
    return sum(len(_text(message).split()) for message in body["messages"])


def completion(body: Body, kind: Kind, key: str) -> Body:
    """The chat completion for a body of digest `key`; deterministic in its arguments."""
    captions = {int(number): text for number, text in _CAPTION.findall(_user_texts(body))}
    content = None if kind == Kind.REFUSAL else _content(kind, captions, random.Random(int(key[:16], 16)))
    refusal = "I'm sorry, I can't help with that." if kind == Kind.REFUSAL else None
    message = {"role": "assistant", "content": content, "refusal": refusal}
    reason = "length" if kind == Kind.LENGTH else "stop"
    asked, answered = prompt_words(body), len((content or refusal or "").split())
    return {
        "id": f"chatcmpl-{key[:24]}", "object": "chat.completion", "created": CREATED, "model": body.get("model", ""),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered},
    }  # fmt: skip


def _text(message: Body) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def _user_texts(body: Body) -> str:
    """All that the user says: a second request for a group ends with a complaint, not with the captions."""
    return "\n".join(_text(message) for message in body["messages"] if message.get("role") == "user")


def _answer(index: list[int], summary: str) -> str:
    return json.dumps({"index": index, "summary": summary}, ensure_ascii=False)


def _content(kind: Kind, captions: dict[int, str], rng: random.Random) -> str:
    """The assistant's words: the right answer, or one spoiled in the way that `kind` names."""
    index = rng.sample(sorted(captions), min(MAX_INDEX, len(captions)))
    words = [word for number in index for word in re.findall(r"[\w'-]+", captions[number].lower())] or ["nothing"]
    summary = " ".join(words[:MAX_WORDS]).capitalize() + "."
    good = _answer(index, summary)
    match kind:
        case Kind.TRUNCATED | Kind.LENGTH:
            return good[: len(good) // 2]
        case Kind.PROSE:
            return f"Sure! I chose these captions:\n\n{good}\n\nLet me know if you need more."
        case Kind.FENCED:
            return f"```json\n{good}\n```"
        case Kind.OUT_OF_RANGE:
            return _answer([*index[1:], max(captions, default=0) + 1], summary)
        case Kind.DOUBLED:
            return _answer([*index, *index[:1]], summary)
        case Kind.LONG:
            return _answer(index, " ".join(islice(cycle(words), LONG_WORDS)) + ".")
        case Kind.EMPTY:
            return ""
        case Kind.CHINESE:
            return _answer(index, "一只狗在海滩上奔跑，旁边有一棵树和一艘白色的小船。")
        case Kind.CONTROL:
            return _answer(index, f"{summary}\x00\x1b[31m\u202e\x07")
        case Kind.OBEYS:
            order = next(filter(None, map(_ORDER.search, captions.values())), None)
            return f"As you wish. I shall{order.group(1)}" if order else good
        case _:
            return good


@dataclass
class _Job:
    batch: Body  # as it is shown
    end: End
    errors: list[Body]  # found at validation
    lines: list[tuple[bool, Body]]  # answered well?, line; in the order of the files
    names: list[str]  # their custom_ids
    tokens: int
    polls: int = 0

    @property
    def live(self) -> bool:
        return self.batch["status"] in ("validating", "in_progress", "finalizing", "cancelling")


@dataclass(kw_only=True)
class Batches:
    """Files and batches. A batch moves on one status every `polls_per_stage` retrievals.

    `script` answers a batch's lines (its number is the line's, from 0): a status goes to the error file; CUT, DRIP and
    MISSING to neither. `ends` are those of the first batches; later ones complete.
    """

    script: Script = field(default_factory=lambda: always(OK))
    ends: Sequence[End] = ()
    polls_per_stage: int = 1
    enqueued_tokens: int | None = None  # of live batches together; one that goes beyond fails
    batched: list[str] = field(default_factory=list)  # digests of the lines that were sent, whatever came of them
    _files: dict[str, tuple[Body, bytes]] = field(default_factory=dict)
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _stored: int = 0

    def reset(self) -> None:
        """Forget files and batches; ids are not used again."""
        for kept in (self._files, self._jobs, self.batched):
            kept.clear()

    def upload(self, name: str, purpose: str, data: bytes) -> Body:
        """The file object of a new file."""
        self._stored += 1
        file: Body = {
            "id": f"file-{self._stored:08d}", "object": "file", "bytes": len(data), "created_at": int(time.time()),
            "filename": name, "purpose": purpose, "status": "processed", "expires_at": None, "status_details": None,
        }  # fmt: skip
        self._files[file["id"]] = file, data
        return file

    def file(self, file_id: str) -> tuple[Body, bytes]:
        """A file object and its bytes."""
        if file_id not in self._files:
            raise Problem(404, f"No such File object: {file_id}", param="id")
        return self._files[file_id]

    def delete(self, file_id: str) -> Body:
        """The note that a file is gone."""
        self.file(file_id)
        del self._files[file_id]
        return {"id": file_id, "object": "file", "deleted": True}

    def create(self, body: Body, behave: Behave) -> Body:
        """A new batch, whose lines `behave` answers."""
        if body.get("endpoint") != COMPLETIONS or body.get("completion_window") != "24h":
            raise Problem(400, f"endpoint must be {COMPLETIONS} and completion_window 24h", param="endpoint")
        self._stored += 1
        end: End = self.ends[len(self._jobs)] if len(self._jobs) < len(self.ends) else "completed"
        batch = _new_batch(f"batch_{self._stored:08d}", body)
        requests, errors = _checked_lines(self.file(body["input_file_id"])[1])
        tokens = sum(prompt_words(request["body"]) for request in requests)
        errors = errors or self._refusal(end, tokens)
        job = self._jobs[batch["id"]] = _Job(batch, end, errors, [], [], 0 if errors else tokens)
        if not errors:
            self._answer_lines(job, requests, behave)
        return batch

    def retrieve(self, batch_id: str) -> Body:
        """A batch, one poll further."""
        job = self._job(batch_id)
        job.polls += 1
        if job.polls % self.polls_per_stage == 0:
            self._advance(job)
        return job.batch

    def page(self, limit: int, after: str) -> Body:
        """A page of batches, the newest first."""
        ids = list(reversed(self._jobs))
        ids = ids[ids.index(after) + 1 :] if after in ids else ids
        data = [self._jobs[batch_id].batch for batch_id in ids[:limit]]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
        return {"object": "list", "data": data, **ends, "has_more": len(ids) > limit}

    def cancel(self, batch_id: str) -> Body:
        """A live batch, cancelling from now on."""
        job = self._job(batch_id)
        if not job.live:
            raise Problem(409, f"Cannot cancel a batch with status '{job.batch['status']}'.")
        job.batch |= {"status": "cancelling", "cancelling_at": int(time.time())}
        return job.batch

    def _job(self, batch_id: str) -> _Job:
        if batch_id not in self._jobs:
            raise Problem(404, f"No batch found with id '{batch_id}'.", param="id")
        return self._jobs[batch_id]

    def _refusal(self, end: End, tokens: int) -> list[Body]:
        enqueued = tokens + sum(job.tokens for job in self._jobs.values() if job.live)
        if end == "token-limit" or (self.enqueued_tokens is not None and enqueued > self.enqueued_tokens):
            message = "Enqueued token limit reached. Please try again once some in_progress batches are completed."
            return [_error("token_limit_exceeded", message, None)]
        return [_error("invalid_json_line", "This line is not parseable as valid JSON.", 1)] if end == "failed" else []

    def _answer_lines(self, job: _Job, requests: Sequence[Body], behave: Behave) -> None:
        numbered = list(enumerate(requests))
        random.Random(job.batch["id"]).shuffle(numbered)
        for number, request in numbered:
            key = digest(request["body"])
            self.batched.append(key)
            job.names.append(request["custom_id"])
            job.lines.append(_answered_line(request, behave(self.script, number, request["body"], key), key))

    def _advance(self, job: _Job) -> None:
        match job.batch["status"]:
            case "validating" if job.errors:
                errors = {"object": "list", "data": job.errors}
                job.batch |= {"status": "failed", "failed_at": int(time.time()), "errors": errors}
            case "validating":
                counts = {"total": len(job.lines), "completed": 0, "failed": 0}
                job.batch |= {"status": "in_progress", "in_progress_at": int(time.time()), "request_counts": counts}
            case "in_progress" if job.end == "expired":
                self._finish(job, "expired", len(job.lines) // 2)
            case "in_progress":
                job.batch |= {"status": "finalizing", "finalizing_at": int(time.time())}
            case "finalizing":
                self._finish(job, "completed", len(job.lines))
            case "cancelling":
                self._finish(job, "cancelled", len(job.lines) // 2 if job.batch["in_progress_at"] else 0)

    def _finish(self, job: _Job, end: str, done: int) -> None:
        """Write both files: the first `done` lines are answered, the others have not been reached."""
        good = [line for well, line in job.lines[:done] if well]
        bad = [line for well, line in job.lines[:done] if line and not well]
        late = [_line(name, None, _error(f"batch_{end}", "not executed", None)) for name in job.names[done:]]
        counts = {"total": len(job.lines), "completed": len(good), "failed": len(job.lines) - len(good)}
        job.batch |= {"status": end, f"{end}_at": int(time.time()), "request_counts": counts}
        for name, lines in (("output", good), ("error", [*bad, *late])):
            data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
            file_id = self.upload(f"{job.batch['id']}_{name}.jsonl", "batch_output", data)["id"] if lines else None
            job.batch[f"{name}_file_id"] = file_id


def _new_batch(batch_id: str, body: Body) -> Body:
    now = int(time.time())
    stages = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    return {
        "id": batch_id, "object": "batch", "endpoint": body["endpoint"], "errors": None, "status": "validating",
        "input_file_id": body.get("input_file_id", ""), "completion_window": "24h", "output_file_id": None,
        "error_file_id": None, "created_at": now, "expires_at": now + 86_400, "metadata": body.get("metadata"),
        "request_counts": {"total": 0, "completed": 0, "failed": 0}, **{f"{stage}_at": None for stage in stages},
    }  # fmt: skip


def _checked_lines(data: bytes) -> tuple[list[Body], list[Body]]:
    """A batch file's requests, and what is wrong with its lines."""
    requests: dict[str, Body] = {}
    errors: list[Body] = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            request = json.loads(line)
            name, well = request["custom_id"], request["url"] == COMPLETIONS and request["method"] == "POST"
            prompt_words(request["body"])
        except (ValueError, KeyError, TypeError, AttributeError):
            errors.append(_error("invalid_json_line", "This line is not parseable as valid JSON.", number))
            continue
        if not well:
            errors.append(_error("invalid_url", "The URL provided for this request does not fit the batch.", number))
        elif name in requests:
            errors.append(_error("duplicate_custom_id", f"The custom_id '{name}' is already used.", number))
        else:
            requests[name] = request
    if not requests and not errors:
        errors.append(_error("empty_file", "The input file is empty.", None))
    return list(requests.values()), errors


def _error(code: str, message: str, line: int | None) -> Body:
    return {"code": code, "message": message, "param": None, "line": line}


def _line(custom_id: str, response: Body | None, error: Body | None) -> Body:
    request_id = "batch_req_" + hashlib.sha256(custom_id.encode()).hexdigest()[:24]
    shown = error and {"code": error["code"], "message": error["message"]}
    return {"id": request_id, "custom_id": custom_id, "response": response, "error": shown}


def _answered_line(request: Body, behaviour: Behaviour, key: str) -> tuple[bool, Body]:
    """Return whether a line succeeded, and its answer; an empty answer is missing from both files."""
    if behaviour.kind in (Kind.CUT, Kind.DRIP, Kind.MISSING):
        return False, {}
    well = behaviour.status == 200
    body = completion(request["body"], behaviour.kind, key) if well else problem_of(behaviour).body
    response = {"status_code": behaviour.status, "request_id": f"req_{key[:24]}", "body": body}
    return well, _line(request["custom_id"], response, None)
