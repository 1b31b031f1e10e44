"""Download a file from an address: resume after an interruption, and refuse a file with another checksum."""

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
from icsd.core.text import shown_address

TRIES = 6  # in a row without a new byte
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
TIMEOUT_S = 60.0  # without a byte
PROGRESS_BYTES = 2**16  # fewer new bytes of a try, or in a minute, do not count
WINDOW_S = 60.0
SHA1_DIGITS = 40
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_log = logging.getLogger(__name__)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Source:
    """An address and the checksum of its file in hexadecimal digits: SHA-256, or SHA-1 where only that is published."""

    address: str
    checksum: str
    max_bytes: float = 100e9

    @property
    def shown(self) -> str:
        """The address as it is shown in messages."""
        return shown_address(self.address)

    @property
    def algorithm(self) -> str:
        """Name of the checksum as hashlib has it."""
        return "sha1" if len(self.checksum) == SHA1_DIGITS else "sha256"

    def checksum_of(self, path: Path) -> str:
        """Return the checksum of a received file."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest()


def download_file(source: Source, path: Path, sleep: Callable[[float], None] = time.sleep) -> None:
    """Download the file to `path`; DownloadError if the server does not send it, or if its checksum differs.

    Received bytes are in `.<name>.part` beside it until the file is complete and its checksum is right; a later call
    resumes at the end of that file. A file with another checksum is moved to `.<name>.refused`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _PartialFile(path)
    resumed = part.size() > 0
    _receive_all(source, part, sleep)
    found = source.checksum_of(part.file)
    if found != source.checksum and resumed:
        _log.warning("%s: wrong checksum; the part from before may be of another file: restart from byte 0", path)
        part.clear()
        _receive_all(source, part, sleep)
        found = source.checksum_of(part.file)
    if found != source.checksum:
        refused = path.with_name(f".{path.name}.refused")
        part.file.replace(refused)
        part.clear()
        raise DownloadError(
            f"{source.shown}: its {source.algorithm} is {found}, not {source.checksum} as the config's "
            f"downloads.files.{path} says; the file was moved to {refused}; if its publisher has changed it and you "
            "trust the new one, write its checksum into the config"
        )
    part.file.replace(path)
    part.clear()


class _PartialFile:
    """The received part of a file, and the version of the file that the server named."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file, self._version = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.version")

    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def clear(self) -> None:
        self.file.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)

    def version(self, address: str) -> str | None:
        """Return the ETag or date of the file, if the part is from this address and the server sent one."""
        try:
            stored = json.loads(self._version.read_text(encoding="utf-8"))
            return stored["version"] if stored["address"] == _digest(address) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, address: str, headers: httpx2.Headers) -> None:
        """Delete the part before a response from byte 0, and store the version."""
        self.clear()
        etag = headers.get("ETag", "")
        # files with the same weak ETag may differ in bytes
        version = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
        self._version.write_text(json.dumps({"address": _digest(address), "version": version}), encoding="utf-8")


def _digest(address: str) -> str:
    """Hash an address, which may hold a password."""
    return hashlib.sha256(address.encode()).hexdigest()


class _TransientError(Exception):
    """A response, such as 503, after which a retry may succeed."""


def _receive_all(source: Source, part: _PartialFile, sleep: Callable[[float], None]) -> None:
    """Request the file until all of it is received; TRIES failures in a row with few new bytes are an error."""
    largest, failures = part.size(), 0
    with httpx2.Client(follow_redirects=True, timeout=TIMEOUT_S) as client:
        while True:
            try:
                return _receive(client, source, part)
            except (httpx2.TransportError, _TransientError) as error:
                failures = 0 if part.size() >= largest + PROGRESS_BYTES else failures + 1
                largest = max(largest, part.size())
                if failures >= TRIES:
                    raise DownloadError(_gave_up(source, part, error)) from error
                wait = min(FIRST_WAIT_S * 2 ** max(failures - 1, 0), LONGEST_WAIT_S)
                text = "%s: %s; %s received, next try in %.0f s"
                _log.warning(text, part.path.name, _reason(error), amount(part.size()), wait)
                sleep(wait)
            except OSError as error:
                raise DownloadError(disk_message(part.file, error)) from error
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:  # such as an endless redirect
                raise DownloadError(f"{source.shown}: {_reason(error)}; mend {_key(part)}.address") from error


def _receive(client: httpx2.Client, source: Source, part: _PartialFile) -> None:
    """Append one response to the part; restart from byte 0 if the server does not resume at the part's end."""
    size = part.size()
    headers = {"Accept-Encoding": "identity"}  # the checksum is of the file as published
    if size:
        headers["Range"] = f"bytes={size}-"
        if version := part.version(source.address):
            headers["If-Range"] = version  # a file that has changed since is sent from byte 0
    with client.stream("GET", source.address, headers=headers) as response:
        if response.status_code == httpx2.codes.RANGE_NOT_SATISFIABLE and size:
            if _total(response) == size:
                return  # the part is complete
            part.clear()
            raise _TransientError(f"the server has less than the {amount(size)} received: restart from byte 0")
        _check_status(response, part)
        resumed = response.status_code == httpx2.codes.PARTIAL_CONTENT
        if resumed and not _continues(response, size):
            part.clear()
            raise _TransientError("the server sent another part than the requested one: restart from byte 0")
        if not resumed:
            part.begin(source.address, response.headers)
        _append(response, source, part, resumed)


def _check_status(response: httpx2.Response, part: _PartialFile) -> None:
    status = response.status_code
    if status in TRANSIENT_STATUSES:
        raise _TransientError(f"the server answers {status}")
    if response.is_success:
        return
    way_out = f"mend {_key(part)}.address"
    if status in {401, 403}:
        way_out = f"it requires a login or a consent: download the file by hand and put it at {part.path}"
    raise DownloadError(
        f"{shown_address(str(response.url))}: the server answers {status} {response.reason_phrase}; {way_out}"
    )


def _continues(response: httpx2.Response, size: int) -> bool:
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == size


def _total(response: httpx2.Response) -> int | None:
    """Return the size of the whole file from the headers of a 416."""
    _, _, total = response.headers.get("Content-Range", "").rpartition("/")
    return int(total) if total.isdigit() else None


def _append(response: httpx2.Response, source: Source, part: _PartialFile, resumed: bool) -> None:
    size, length = part.size(), response.headers.get("Content-Length", "")
    total = size + int(length) if length.isdigit() else None
    transfer = Transfer(part.path.name, size, total)
    if resumed:
        _log.info("%s: resumes after %s", part.path.name, amount(size))
    window, since = 0, time.monotonic()
    with part.file.open("ab") as file:
        for chunk in response.iter_raw():
            file.write(chunk)
            transfer.add(len(chunk))
            size += len(chunk)
            if size > source.max_bytes:
                raise _too_large(source, part)
            window += len(chunk)
            if time.monotonic() - since > WINDOW_S:
                if window < PROGRESS_BYTES:
                    raise _TransientError(f"the server sends only {amount(window)} in {WINDOW_S:.0f} s")
                window, since = 0, time.monotonic()
    transfer.end()


def _too_large(source: Source, part: _PartialFile) -> DownloadError:
    part.clear()
    problem = f"the server sends more than {amount(int(source.max_bytes))}, and the part was deleted"
    return DownloadError(f"{source.shown}: {problem}; mend {_key(part)}.address, or raise {_key(part)}.max_gb")


def disk_message(part: Path, error: OSError) -> str:
    """Return the message for an error while `part` is written."""
    way_out = "run snakemake again: it resumes there"
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return f"{part}: cannot be written ({error.strerror}); mend that and {way_out}"
    return f"{part}: the disk is full ({amount(shutil.disk_usage(part.parent).free)} free); make room and {way_out}"


def _gave_up(source: Source, part: _PartialFile, error: Exception) -> str:
    resume = f"; the next run resumes after the {amount(part.size())} received" if part.size() else ""
    return (
        f"{source.shown}: {_reason(error)}, {TRIES} times in a row{resume}; "
        f"does this machine have network access, and is {_key(part)}.address right?"
    )


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _key(part: _PartialFile) -> str:
    return f"downloads.files.{part.path}"
