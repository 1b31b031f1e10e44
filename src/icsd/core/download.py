"""A file from its address: resumed when cut, and refused when its SHA-256 is another than the config's."""

import errno
import hashlib
import json
import logging
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2

from icsd.core.errors import DownloadError
from icsd.core.logs import Transfer, amount

TRIES = 6  # in a row without a byte more than before
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
TIMEOUT_S = 60.0  # without a byte
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # may be better the next time
_log = logging.getLogger(__name__)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Source:
    """An address, and the SHA-256 of what must come from it."""

    address: str
    sha256: str


def download_file(source: Source, path: Path, sleep: Callable[[float], None] = time.sleep) -> None:
    """Fetch the file to `path`. DownloadError if it does not come, or is another than `source` says.

    What has come lies in `.<name>.part` beside it until all of it is there and its sum is right, and a later try goes
    on from its end. A file with a wrong sum is moved to `.<name>.refused`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(path)
    came_before = part.size()
    _fetch(source, part, sleep)
    found = sha256_of(part.file)
    if found != source.sha256 and came_before:
        _log.warning("%s: the sum is wrong; the part of an earlier try may be of another file: from the start", path)
        part.clear()
        _fetch(source, part, sleep)
        found = sha256_of(part.file)
    if found != source.sha256:
        refused = path.with_name(f".{path.name}.refused")
        part.file.replace(refused)
        part.clear()
        raise DownloadError(
            f"{source.address}: its SHA-256 is {found}, not {source.sha256} as the config's downloads.files.{path} "
            f"says; the file is refused, and lies at {refused} to be looked at; if its publisher has changed it and "
            "you trust the new one, write its sum into the config"
        )
    part.file.replace(path)
    part.clear()


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Part:
    """What has come of a file so far, and which version of it the server said that this is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file, self._version = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.version")

    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def clear(self) -> None:
        self.file.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)

    def version(self, address: str) -> str | None:
        """An ETag or a date, if the part is from this address and its server gave one."""
        try:
            kept = json.loads(self._version.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return kept["version"] if kept["address"] == address else None

    def begin(self, address: str, headers: httpx2.Headers) -> None:
        """Empty it for a response from the file's start."""
        self.clear()
        etag = headers.get("ETag", "")
        # a weak one is of files that may differ in bytes
        version = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
        self._version.write_text(json.dumps({"address": address, "version": version}), encoding="utf-8")


class _PassingError(Exception):
    """An answer such as 503."""


def _fetch(source: Source, part: _Part, sleep: Callable[[float], None]) -> None:
    """Until the server has sent all of it; tries that bring nothing new are counted."""
    most, fruitless = part.size(), 0
    with httpx2.Client(follow_redirects=True, timeout=TIMEOUT_S) as client:
        while True:
            try:
                return _receive(client, source.address, part)
            except (httpx2.TransportError, _PassingError) as error:
                fruitless = 0 if part.size() > most else fruitless + 1
                most = max(most, part.size())
                if fruitless >= TRIES:
                    raise DownloadError(_gave_up(source, part, error)) from error
                wait = min(FIRST_WAIT_S * 2 ** max(fruitless - 1, 0), LONGEST_WAIT_S)
                text = "%s: %s; %s are there, on in %.0f s"
                _log.warning(text, part.path.name, _reason(error), amount(part.size()), wait)
                sleep(wait)
            except OSError as error:
                raise DownloadError(disk_message(part.file, error)) from error
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:  # an endless redirect, or one to nowhere
                raise DownloadError(f"{source.address}: {_reason(error)}; mend {_key(part)}.address") from error


def _receive(client: httpx2.Client, address: str, part: _Part) -> None:
    """One request, appended to the part; from the start where the server does not go on at the part's end."""
    size = part.size()
    headers = {"Accept-Encoding": "identity"}  # the sum is of the file as published
    if size:
        headers["Range"] = f"bytes={size}-"
        if version := part.version(address):
            headers["If-Range"] = version  # of a file that has changed since, all is sent
    with client.stream("GET", address, headers=headers) as response:
        if response.status_code == httpx2.codes.RANGE_NOT_SATISFIABLE and size:
            if _total(response) == size:
                return  # all of it was there
            part.clear()
            raise _PassingError(f"the server has less than the {amount(size)} that are there: from the start")
        _check_status(response, part)
        resumed = response.status_code == httpx2.codes.PARTIAL_CONTENT
        if resumed and not _goes_on(response, size):
            part.clear()
            raise _PassingError("the server sent another part than was asked for: from the start")
        if not resumed:
            part.begin(address, response.headers)
        _append(response, part, resumed)


def _check_status(response: httpx2.Response, part: _Part) -> None:
    status = response.status_code
    if status in PASSING:
        raise _PassingError(f"the server answers {status}")
    if response.is_success:
        return
    way_out = f"mend {_key(part)}.address"
    if status in {401, 403}:
        way_out = f"it wants a login or a consent: fetch the file by hand and put it at {part.path}"
    raise DownloadError(f"{response.url}: the server answers {status} {response.reason_phrase}; {way_out}")


def _goes_on(response: httpx2.Response, size: int) -> bool:
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == size


def _total(response: httpx2.Response) -> int | None:
    """The whole file's bytes, as a 416 names them."""
    _, _, total = response.headers.get("Content-Range", "").rpartition("/")
    return int(total) if total.isdigit() else None


def _append(response: httpx2.Response, part: _Part, resumed: bool) -> None:
    size, length = part.size(), response.headers.get("Content-Length", "")
    total = size + int(length) if length.isdigit() else None
    transfer = Transfer(part.path.name, size, total)
    if resumed:
        _log.info("%s: goes on after %s", part.path.name, amount(size))
    with part.file.open("ab") as file:
        for chunk in response.iter_raw():
            file.write(chunk)
            transfer.add(len(chunk))
    transfer.end()


def disk_message(part: Path, error: OSError) -> str:
    """What to say when `part` cannot be written."""
    way_out = "run snakemake again: it goes on from there"
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return f"{part}: cannot be written ({error.strerror}); mend that and {way_out}"
    return f"{part}: the disk is full ({amount(shutil.disk_usage(part.parent).free)} free); make room and {way_out}"


def _gave_up(source: Source, part: _Part, error: Exception) -> str:
    kept = f"; the {amount(part.size())} that came are kept, and the next run goes on from there" if part.size() else ""
    return (
        f"{source.address}: {_reason(error)}, {TRIES} times in a row{kept}; "
        f"is this machine in the network, and is {_key(part)}.address right?"
    )


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _key(part: _Part) -> str:
    return f"downloads.files.{part.path}"
