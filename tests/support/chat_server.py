"""An HTTP server that speaks OpenAI's chat completions, files and batches, and misbehaves on demand.

In a test: `with ChatServer(script=faults(0.1, seed=0)) as server: ... server.url`. As a process of its own, which
outlives a killed client: `python tests/support/chat_server.py --port-file PATH --log PATH --seed N --faults 0.1`.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import math
import random
import re
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Self, TextIO
from urllib.parse import parse_qs, urlsplit

from chat_behaviours import (
    COMPLETIONS,
    NO_SCHEMA,
    OK,
    Batches,
    Behaviour,
    Body,
    Kind,
    Problem,
    Script,
    all_faults,
    always,
    completion,
    digest,
    faults,
    problem_of,
    status,
)

__all__ = [
    "OK",
    "Batches",
    "Behaviour",
    "ChatServer",
    "Kind",
    "Seen",
    "all_faults",
    "always",
    "digest",
    "faults",
    "status",
]

DRIP_S = 0.2
GLANCE_S = 0.05  # how often a waiting reply looks whether its client is still there
_REASONS = {int(code): code.phrase for code in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Seen:
    """A chat completion that was asked for. `attempt`: earlier arrivals of this body that reached the script."""

    number: int
    attempt: int
    sha256: str
    authorization: str | None
    behaviour: Behaviour


@dataclass(kw_only=True, eq=False)
class ChatServer:
    """Settings, which may be changed while it runs, and what it saw. A context manager: a thread of its own."""

    script: Script = field(default_factory=lambda: always(OK))
    key: str | None = None  # 401 without it
    seed: int = 0
    latency_ms: float = 0.0  # median of a log-normal, drawn by the body's digest
    latency_spread: float = 0.5  # its sigma
    most_at_once: int | None = None  # 429 above
    served_at_once: int | None = None  # others wait in a queue
    most_per_second: int | None = None  # 429 above
    retry_after_s: float = 0.1  # of the 429 of `most_at_once`; decimal, which OpenAI's client takes
    quota_headers: bool = False  # x-ratelimit-* on every reply, not on 429 alone
    strict_schema: bool = True  # False: 400 for a request with response_format
    port: int = 0
    log: Path | None = None
    batches: Batches = field(default_factory=Batches)
    seen: list[Seen] = field(default_factory=list, init=False)
    calls: list[str] = field(default_factory=list, init=False)  # all other requests: "GET /v1/batches"
    highest: int = field(default=0, init=False)  # completions under way at once

    def __post_init__(self) -> None:
        self._attempts: Counter[str] = Counter()
        self._arrivals = self._under_way = 0
        self._log: TextIO | None = None
        self._recent: deque[float] = deque()  # arrivals of the last second
        self._tasks: set[asyncio.Task[None]] = set()
        self._desks = asyncio.Semaphore(self.served_at_once or sys.maxsize)

    @property
    def url(self) -> str:
        """Base URL for a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    def reset(self) -> None:
        """Forget what was seen; files and batches too."""
        for kept in (self.seen, self.calls, self._attempts, self._recent):
            kept.clear()
        self._arrivals, self.highest = 0, self._under_way
        self.batches.reset()

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self.run(started.set),), daemon=True)
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError("the chat server did not start within 10 s")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    async def run(self, started: Callable[[], object], seconds: float | None = None) -> None:
        """Serve until the context is left, or for some seconds; `started` is called once the port is known."""
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        with contextlib.ExitStack() as stack:
            if self.log:
                # a line is flushed at its end: the log of a killed server is complete
                self._log = stack.enter_context(self.log.open("a", buffering=1, encoding="utf-8"))
            server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, backlog=2048)
            self.port = server.sockets[0].getsockname()[1]
            started()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._log = None

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task, wire = asyncio.current_task(), _Wire(reader, writer)
        assert task is not None
        self._tasks.add(task)
        try:
            while (request := await _read(reader)) and await self._handle(request, wire):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the server stops: asyncio would print a cancelled handler's trace
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _handle(self, request: "_Request", wire: "_Wire") -> bool:
        """Answer one request; whether the connection stays open."""
        if (request.method, request.target) == ("POST", COMPLETIONS):
            return await self._complete(request, wire) and request.keeps_open
        before, code = len(self.batches.batched), 200
        try:
            payload = self._other(request)
        except Problem as problem:
            payload, code = json.dumps(problem.body).encode(), problem.status
        self.calls.append(f"{request.method} {request.target}")
        sha = hashlib.sha256(request.body).hexdigest()
        self._note({"call": self.calls[-1], "sha256": sha, "status": code, "bodies": self.batches.batched[before:]})
        await wire.send(_head(code, len(payload), self._quota() if self.quota_headers else {}) + payload)
        return request.keeps_open

    async def _complete(self, request: "_Request", wire: "_Wire") -> bool:
        seen, payload = self._decide(request)
        taken = seen.behaviour.kind != Kind.TURNED_AWAY
        self._under_way += taken
        self.highest = max(self.highest, self._under_way)
        try:
            delay = seen.behaviour.delay_s + (self._latency(seen.sha256) if taken else 0)
            if delay:
                async with self._desks:
                    await wire.wait(delay)
            return await self._reply(seen, payload, wire)
        finally:
            self._under_way -= taken

    def _decide(self, request: "_Request") -> tuple[Seen, bytes]:
        """Return the reply to a completion, and its body."""
        number, authorization = self._arrivals, request.headers.get("authorization")
        self._arrivals += 1
        try:
            body = _parsed(request.body, "messages")
        except Problem as problem:
            sha = hashlib.sha256(request.body).hexdigest()
            seen, answer = Seen(number, 0, sha, authorization, Behaviour(Kind.TURNED_AWAY, 400)), problem.body
        else:
            key = digest(body)
            attempt = self._attempts[key]
            behaviour = self._turned_away(authorization) or self._behave(self.script, number, body, key)
            seen = Seen(number, attempt, key, authorization, behaviour)
            good = behaviour.status == 200
            answer = completion(body, behaviour.kind, key) if good else problem_of(behaviour).body
        self.seen.append(seen)
        return seen, json.dumps(answer, ensure_ascii=False).encode()

    async def _reply(self, seen: Seen, payload: bytes, wire: "_Wire") -> bool:
        """Note what is about to be sent, and send it; whether the connection can go on."""
        behaviour = seen.behaviour
        whole = behaviour.whole and not wire.gone
        # before the first byte: whoever has the reply finds it in the log
        self._note({"number": seen.number, "sha256": seen.sha256, "behaviour": behaviour.name, "whole": whole})
        wait = behaviour.retry_after
        headers = {} if wait is None else {"retry-after": f"{wait:g}"}
        if self.quota_headers or (behaviour.kind, behaviour.status) == (Kind.TURNED_AWAY, 429):
            headers |= self._quota()
        if behaviour.kind == Kind.DRIP:
            await wire.drip(_head(200, None, headers))
            return False
        reply = _head(behaviour.status, len(payload), headers) + payload
        cut = behaviour.kind == Kind.CUT
        await wire.send(reply[: len(reply) - len(payload) // 2] if cut else reply)
        return not cut

    def _behave(self, script: Script, number: int, body: Body, key: str) -> Behaviour:
        if not self.strict_schema and "response_format" in body:
            return NO_SCHEMA
        self._attempts[key] += 1
        return script(number, self._attempts[key] - 1, body)

    def _turned_away(self, authorization: str | None) -> Behaviour | None:
        """Return the refusal by key or limits, before the script runs; None if there is none."""
        if self._refuses(authorization):
            return Behaviour(Kind.TURNED_AWAY, 401)
        if self.most_at_once is not None and self._under_way >= self.most_at_once:
            return Behaviour(Kind.TURNED_AWAY, 429, self.retry_after_s)
        if self.most_per_second is not None:
            now = self._forget_old()
            if len(self._recent) >= self.most_per_second:
                return Behaviour(Kind.TURNED_AWAY, 429, round(self._recent[0] + 1 - now, 3))
            self._recent.append(now)
        return None

    def _refuses(self, authorization: str | None) -> bool:
        return self.key is not None and authorization != f"Bearer {self.key}"

    def _forget_old(self) -> float:
        """The time, with arrivals of more than a second ago forgotten."""
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        return now

    def _quota(self) -> dict[str, str]:
        """OpenAI's rate limit headers, of the limit that is nearest."""
        now = self._forget_old()
        quotas = [(10_000, 10_000, 0.0)]
        if self.most_at_once is not None:
            quotas.append((max(0, self.most_at_once - self._under_way), self.most_at_once, self.retry_after_s))
        if self.most_per_second is not None:
            reset = self._recent[0] + 1 - now if self._recent else 0.0
            quotas.append((self.most_per_second - len(self._recent), self.most_per_second, reset))
        remaining, limit, reset = min(quotas)
        shown = {"limit": str(limit), "remaining": str(remaining), "reset": f"{math.ceil(reset * 1000)}ms"}
        return {f"x-ratelimit-{name}-requests": value for name, value in shown.items()}

    def _latency(self, key: str) -> float:
        """Seconds; the same for the same body."""
        if not self.latency_ms:
            return 0.0
        normal = random.Random(f"{self.seed}:{key}").gauss(0, self.latency_spread)
        return self.latency_ms / 1000 * math.exp(normal)

    def _note(self, line: Body) -> None:
        if self._log:
            self._log.write(json.dumps(line) + "\n")

    def _other(self, request: "_Request") -> bytes:
        """The body of the reply to anything but a completion."""
        if self._refuses(request.headers.get("authorization")):
            raise problem_of(Behaviour(Kind.TURNED_AWAY, 401))
        url, batches = urlsplit(request.target), self.batches
        match (request.method, *url.path.removeprefix("/v1/").split("/")):
            case ("GET", "files", file_id, "content"):
                return batches.file(file_id)[1]
            case ("POST", "files"):
                shown = batches.upload(*_form(request))
            case ("GET", "files", file_id):
                shown = batches.file(file_id)[0]
            case ("DELETE", "files", file_id):
                shown = batches.delete(file_id)
            case ("POST", "batches"):
                shown = batches.create(_parsed(request.body, "input_file_id"), self._behave)
            case ("GET", "batches"):
                query = parse_qs(url.query)
                shown = batches.page(int(query.get("limit", ["20"])[0]), query.get("after", [""])[0])
            case ("GET", "batches", batch_id):
                shown = batches.retrieve(batch_id)
            case ("POST", "batches", batch_id, "cancel"):
                shown = batches.cancel(batch_id)
            case _:
                raise Problem(404, f"Invalid URL ({request.method} {request.target})")
        return json.dumps(shown).encode()


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def keeps_open(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


@dataclass(frozen=True, slots=True)
class _Wire:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def gone(self) -> bool:
        """Return whether the client has closed the connection."""
        return self.reader.at_eof() or self.reader.exception() is not None or self.writer.is_closing()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def wait(self, seconds: float) -> None:
        """Sleep, but no longer than the client waits."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self.gone:
            await asyncio.sleep(min(left, GLANCE_S))

    async def drip(self, head: bytes) -> None:
        """Send white space until the client hangs up: legal JSON so far, and never idle for long."""
        await self.send(head)
        while not self.gone:
            await self.send(b"1\r\n \r\n")
            await self.wait(DRIP_S)


async def _read(reader: asyncio.StreamReader) -> _Request | None:
    """The next request; None where the client has closed the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    # no chunked requests: openai's client sends lengths
    return _Request(method, target, headers, await reader.readexactly(int(headers.get("content-length", 0))))


def _head(code: int, length: int | None, headers: dict[str, str]) -> bytes:
    """A reply's head; chunked if the length is not known."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reason = _REASONS.get(code, "Unknown")
    return f"HTTP/1.1 {code} {reason}\r\nContent-Type: application/json\r\n{size}\r\n{extra}\r\n".encode("latin-1")


def _parsed(data: bytes, needs: str) -> Body:
    try:
        body = json.loads(data)
    except ValueError:
        raise Problem(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict) or needs not in body:
        raise Problem(400, f"Missing required parameter: '{needs}'.", param=needs, code="missing_required_parameter")
    return body


def _form(request: _Request) -> tuple[str, str, bytes]:
    """Name, purpose and bytes of an uploaded file."""
    boundary = re.search(r'boundary="?([^";]+)', request.headers.get("content-type", ""))
    fields: dict[str, bytes] = {}
    for part in request.body.split(b"--" + boundary[1].encode())[1:-1] if boundary else []:
        head, _, data = part.partition(b"\r\n\r\n")
        names = dict(re.findall(r'\b(name|filename)="([^"]*)"', head.decode()))
        fields[names["name"]] = data.removesuffix(b"\r\n")
        fields |= {"filename": names["filename"].encode()} if "filename" in names else {}
    if fields.get("purpose") != b"batch" or "file" not in fields:
        raise Problem(400, "A file and the purpose 'batch' are needed.", param="purpose")
    return fields.get("filename", b"upload").decode(), "batch", fields["file"]


def main() -> None:
    """The server as a process: writes its port to a file, and ends by itself after `--seconds`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--key")
    for name, kind, default in (
        ("port", int, 0), ("seed", int, 0), ("faults", float, 0.0), ("latency-ms", float, 0.0), ("slow-s", float, 0.5),
        ("retry-after", float, 0.1), ("most-at-once", int, None), ("most-per-second", int, None),
        ("seconds", float, 900.0),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_argument("--without", nargs="*", default=[], metavar="KIND", help="faults to leave out, such as drip")
    args = parser.parse_args()
    among = [fault for fault in all_faults(args.slow_s, args.retry_after) if fault.kind not in args.without]
    server = ChatServer(
        script=faults(args.faults, args.seed, among), key=args.key, seed=args.seed, latency_ms=args.latency_ms,
        most_at_once=args.most_at_once, most_per_second=args.most_per_second, port=args.port, log=args.log,
    )  # fmt: skip

    def tell_port() -> None:
        part = args.port_file.with_suffix(".part")
        part.write_text(str(server.port))
        part.replace(args.port_file)  # a reader never finds half of a number

    asyncio.run(server.run(tell_port, args.seconds))


if __name__ == "__main__":
    main()
