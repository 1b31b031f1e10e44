"""An HTTP server that speaks OpenAI's `/v1/images/generations`, and misbehaves on demand.

In a test: `with ImageServer(script=lambda attempt, body: "ok" if attempt else "http-500") as server: ... server.url`.
"""

import base64
import hashlib
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from PIL import Image

PATH = "/v1/images/generations"
Body = dict[str, Any]
Script = Callable[[int, Body], str]  # earlier arrivals of this body, body -> a name of REPLIES, or "http-<status>"
RETRIED = (
    "http-429", "http-429-wait", "http-500", "http-503", "connection", "cut", "slow", "not-json", "no-data", "empty",
    "strange", "truncated", "no-base64", "text", "half",
)  # fmt: skip
REFUSALS = {
    "content-policy": ("content_policy_violation", "invalid_request_error"),
    "moderation": ("moderation_blocked", "image_generation_user_error"),
    "filter": (None, "content_filter"),
    "proxied": ("400", "image_generation_user_error"),
    "proxied-policy": ("400", None),
}


@dataclass(frozen=True)
class Seen:
    """A request that came, and how it was answered. `attempt`: earlier arrivals of this body."""

    body: Body
    attempt: int
    authorization: str | None
    reply: str


@dataclass(kw_only=True)
class ImageServer:
    """Settings, which may be changed while it runs, and what it saw. A context manager: a thread of its own."""

    script: Script = lambda attempt, body: "ok"
    key: str | None = None  # 401 without it
    fields: frozenset[str] | None = None  # 400 for others
    most_at_once: int | None = None  # 429 above
    latency_s: float = 0.0
    size: tuple[int, int] = (16, 16)  # width and height of an image of a request without size
    seen: list[Seen] = field(default_factory=list, init=False)
    highest: int = field(default=0, init=False)  # requests under way at once

    def __enter__(self) -> Self:
        self._lock, self._attempts, self.under_way = threading.Lock(), Counter[str](), 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.state = self
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def drawn(self) -> Counter[str]:
        """The prompts of whole images that were sent, and how often."""
        return Counter(each.body["prompt"] for each in self.seen if each.reply == "ok")

    def decide(self, body: Body, authorization: str | None) -> str:
        """The name of the reply to a request."""
        text = json.dumps(body, sort_keys=True)
        with self._lock:
            attempt = self._attempts[text]
            self._attempts[text] += 1
            self.highest = max(self.highest, self.under_way)
            busy = self.most_at_once is not None and self.under_way > self.most_at_once
            unknown = sorted(body.keys() - self.fields) if self.fields is not None else []
            if self.key is not None and authorization != f"Bearer {self.key}":
                reply = "http-401"
            elif unknown:
                reply = f"unknown {unknown[0]}"
            else:
                reply = "http-429" if busy else self.script(attempt, body)
            self.seen.append(Seen(body, attempt, authorization, reply))
        return reply

    def count(self, change: int) -> None:
        """Count requests that are under way."""
        with self._lock:
            self.under_way += change


def image_of(body: Body, default: tuple[int, int] = (16, 16)) -> Image.Image:
    """The image of a request, of a colour by all of it; noise if there is no seed."""
    width, height = map(int, body["size"].split("x")) if "size" in body else default
    if "seed" not in body:
        return Image.effect_noise((width, height), 60).convert("RGB")
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
    image = Image.new("RGB", (width, height), tuple(digest[:3]))
    image.paste(tuple(digest[3:6]), (0, 0, width // 2, height // 2))
    return image


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """The file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


class _Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128
    state: ImageServer

    def handle_error(self, *_: object) -> None:
        """Nothing on stderr: a client was killed."""


class _Handler(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_POST(self) -> None:
        state: ImageServer = self.server.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        state.count(1)
        try:
            if self.path != PATH:
                self._send(404, {"error": {"message": "no such address"}})
                return
            reply = state.decide(body, self.headers["Authorization"])
            time.sleep(state.latency_s if reply == "ok" else 0)
            self._answer(reply, body, state)
        except ConnectionError:
            self.close_connection = True  # the client was killed, or waits no longer
        finally:
            state.count(-1)

    def _answer(self, reply: str, body: Body, state: ImageServer) -> None:
        image = image_of(body, state.size)
        file = encoded(image)
        text = base64.b64encode(file).decode()
        match reply:
            case "connection":
                self.close_connection = True
            case "cut":
                self._send(200, _images(b64_json=text), cut=True)
            case "slow":
                time.sleep(1.5)
                self._send(200, _images(b64_json=text))
            case "not-json":
                self._send(200, "<html>504 Gateway Time-out</html>")
            case "no-data":
                self._send(200, {"created": 1, "data": []})
            case "empty":
                self._send(200, _images(b64_json=""))
            case "strange":
                self._send(200, {"created": 1, "data": {"b64_json": text}})
            case "truncated":
                self._send(200, _images(b64_json=text[: len(text) // 2 - len(text) // 2 % 4 + 1]))
            case "no-base64":
                self._send(200, _images(b64_json="*" + text))
            case "text":
                self._send(200, _images(b64_json=base64.b64encode(b"I cannot draw that.").decode()))
            case "half":
                self._send(200, _images(b64_json=base64.b64encode(file[: len(file) // 2]).decode()))
            case "address":
                self._send(200, _images(url="http://127.0.0.1:9/image.png"))
            case "wrong-size":
                other = image.resize((image.width * 2, image.height))
                self._send(200, _images(b64_json=base64.b64encode(encoded(other)).decode()))
            case "jpeg":
                self._send(200, _images(b64_json=base64.b64encode(encoded(image, "JPEG")).decode()))
            case "data-url":
                self._send(200, _images(b64_json=f"data:image/png;base64,{text}"))
            case "ok":
                self._send(200, _images(b64_json=text))
            case _ if reply in REFUSALS:
                code, kind = REFUSALS[reply]
                said = "litellm.ContentPolicyViolationError: " if reply == "proxied-policy" else ""
                said += "Your request was rejected by the safety system."
                self._send(400, _error(said, code=code, type=kind))
            case _ if reply.startswith("unknown "):
                self._send(400, _error(f"Unknown parameter: '{reply.removeprefix('unknown ')}'."))
            case _:
                status = int(reply.split("-")[1])
                headers = {"retry-after": "0.1"} if reply.endswith("-wait") else {}
                said = f"scripted {reply}, key {self.headers['Authorization']}"
                self._send(status, _error(said), headers=headers)

    def _send(self, status: int, said: Body | str, *, cut: bool = False, headers: dict[str, str] | None = None) -> None:
        data = (said if isinstance(said, str) else json.dumps(said)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(said, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut


def _images(**image: str) -> Body:
    return {"created": 1, "data": [{"revised_prompt": None} | image]}


def _error(message: str, **more: str | None) -> Body:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None} | more}
