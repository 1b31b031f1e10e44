"""An HTTP server of files that cuts, ignores ranges and refuses on demand, and the few addresses of the hub."""

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

_RANGE = re.compile(r"bytes=(\d+)-")
_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[0-9a-f]{40})/(?P<path>.+)")
_TREE = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[0-9a-f]{40})")


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    range: str | None
    if_range: str | None
    authorization: str | None


@dataclass
class Repo:
    """A repository of the hub. Large files are those of its git-lfs: the hub knows their SHA-256."""

    revision: str
    files: dict[str, bytes]
    gated: bool = False


@dataclass(kw_only=True)
class FileServer:
    """Settings, which may be changed while it runs, and what it was asked. A context manager: a thread of its own."""

    files: dict[str, bytes] = field(default_factory=dict)
    repos: dict[str, Repo] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # after so many bytes of a body the next connections end
    statuses: list[int] = field(default_factory=list)  # with which the next requests are answered
    ranges: bool = True
    validator: str | None = "ETag"  # or "Last-Modified", or None
    spoil: bytes = b""  # after every body's first byte
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        state = self

        class Handler(_Handler):
            server_state = state

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def ranges_asked(self) -> list[str | None]:
        """The Range of every GET so far."""
        return [each.range for each in self.asked if each.method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    server_state: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        state, path = self.server_state, unquote(urlsplit(self.path).path)
        get = self.headers.get
        state.asked.append(Asked(self.command, path, get("Range"), get("If-Range"), get("Authorization")))
        if state.statuses:
            self._send(state.statuses.pop(0), b"no")
        elif found := _TREE.fullmatch(path):
            self._tree(found["repo"], found["revision"])
        elif found := _RESOLVE.fullmatch(path):
            self._resolve(found["repo"], found["revision"], found["path"])
        elif path in state.files:
            self._file(state.files[path], {})
        else:
            self._send(404, b"not here")

    def _tree(self, name: str, revision: str) -> None:
        repo = self.server_state.repos.get(name)
        if repo is None:
            self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif repo.revision != revision:
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            listing = [_entry(path, content) for path, content in repo.files.items()]
            self._send(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self.server_state.repos[name]
        if repo.gated and not (self.headers.get("Authorization") or "").startswith("Bearer "):
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        else:
            content = repo.files[path]
            entry = _entry(path, content)
            etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
            self._file(content, {"X-Repo-Commit": revision, "ETag": f'"{etag}"'})

    def _file(self, content: bytes, headers: Mapping[str, str]) -> None:
        state = self.server_state
        value = {
            "ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"',
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
        }
        validator = {state.validator: value[state.validator]} if state.validator else {}
        headers = validator | dict(headers)
        asked = _RANGE.fullmatch(self.headers.get("Range") or "")
        if_range = self.headers.get("If-Range")
        if state.ranges and asked and (if_range is None or if_range in headers.values()):
            start = int(asked[1])
            if start >= len(content):
                return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            place = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            return self._send(206, content[start:], headers | place)
        return self._send(200, content, headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, Any] = {}) -> None:
        state = self.server_state
        if state.spoil and body:
            body = body[:1] + state.spoil + body[1 + len(state.spoil) :]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = state.cuts.pop(0) if state.cuts and status in {200, 206} and len(body) > state.cuts[0] else None
        self.wfile.write(body[:cut])
        self.wfile.flush()
        if cut is not None:
            self.close_connection = True


def _entry(path: str, content: bytes) -> dict[str, Any]:
    """A file in the hub's listing."""
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "oid": oid}
    if path.endswith((".safetensors", ".bin")):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry
