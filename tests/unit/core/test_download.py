"""Downloads from a server that cuts connections and misbehaves."""

import hashlib
import logging
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from file_server import FileServer

from icsd.core import download
from icsd.core.download import TRIES, Source, download_file
from icsd.core.errors import DownloadError

CONTENT = random.Random(0).randbytes(300_000)
NAME = "/data/captions.json"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(files={NAME: CONTENT}) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "resources" / "corpora" / "captions.json"


def _download(server: FileServer, path: Path, content: bytes = CONTENT, name: str = NAME) -> list[float]:
    """Return the waits between the tries."""
    waits: list[float] = []
    download_file(Source(server.url + name, hashlib.sha256(content).hexdigest()), path, waits.append)
    return waits


def _message(server: FileServer, path: Path, content: bytes = CONTENT, name: str = NAME) -> str:
    with pytest.raises(DownloadError) as error:
        _download(server, path, content, name)
    assert not path.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def _files(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


def test_a_downloaded_file_has_nothing_left_beside_it(
    server: FileServer, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert _download(server, path) == []
    assert path.read_bytes() == CONTENT
    assert _files(path) == ["captions.json"]
    assert "captions.json: 300.00 kB of 300.00 kB, " in caplog.text


@pytest.mark.parametrize("validator", ["ETag", "Last-Modified", None])
def test_an_interrupted_download_resumes_where_it_stopped(
    server: FileServer, path: Path, validator: str | None
) -> None:
    server.validator, server.cuts = validator, [100_000, 50_000]
    assert _download(server, path) == [1.0, 1.0]
    assert path.read_bytes() == CONTENT
    assert server.ranges_asked() == [None, "bytes=100000-", "bytes=150000-"]
    assert [each.if_range is not None for each in server.asked] == [False, bool(validator), bool(validator)]


def test_a_later_run_resumes_where_the_killed_one_stopped(
    server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.cuts = [100_000]
    with pytest.raises(KeyboardInterrupt):  # the process ends while it waits
        download_file(Source(server.url + NAME, "0" * 64), path, lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert _files(path) == [".captions.json.part", ".captions.json.version"]
    _download(server, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges_asked() == [None, "bytes=100000-"]
    assert _files(path) == ["captions.json"]


def test_a_server_without_ranges_sends_all_of_it_again(server: FileServer, path: Path) -> None:
    server.ranges, server.cuts = False, [100_000]
    _download(server, path)
    assert path.read_bytes() == CONTENT


def test_a_file_that_changed_between_two_tries_is_downloaded_from_byte_0(server: FileServer, path: Path) -> None:
    server.cuts = [100_000]
    new = CONTENT[::-1]

    def change(_: float) -> None:
        server.files[NAME] = new

    download_file(Source(server.url + NAME, hashlib.sha256(new).hexdigest()), path, change)
    assert path.read_bytes() == new
    assert server.ranges_asked() == [None, "bytes=100000-"]


def test_a_part_of_another_file_is_deleted_after_a_wrong_sha256(server: FileServer, path: Path) -> None:
    server.validator = None
    path.parent.mkdir(parents=True)
    path.with_name(".captions.json.part").write_bytes(b"x" * 1_000)
    _download(server, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges_asked() == ["bytes=1000-", None]


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"more"])
def test_a_complete_or_too_long_part_becomes_the_file(server: FileServer, path: Path, part: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.with_name(".captions.json.part").write_bytes(part)
    _download(server, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges_asked() == [f"bytes={len(part)}-"] + [None] * (part != CONTENT)


def test_a_file_with_a_wrong_sha256_is_refused_and_moved_aside(server: FileServer, path: Path) -> None:
    message = _message(server, path, b"another")
    found, expected = hashlib.sha256(CONTENT).hexdigest(), hashlib.sha256(b"another").hexdigest()
    assert message.startswith(f"{server.url}{NAME}: its sha256 is {found}, not {expected}")
    assert "downloads.files." in message
    assert "write its checksum into the config" in message
    assert _files(path) == [".captions.json.refused"]


def test_a_file_is_held_to_its_sha1_where_only_that_is_published(server: FileServer, path: Path) -> None:
    sha1 = hashlib.new("sha1", CONTENT, usedforsecurity=False).hexdigest()
    with pytest.raises(DownloadError, match=f"its sha1 is {sha1}, not {'0' * 40}"):
        download_file(Source(server.url + NAME, "0" * 40), path)
    download_file(Source(server.url + NAME, sha1), path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "parts"),
    [(404, ["answers 404", ".address"]), (403, ["answers 403", "download the file by hand and put it at"])],
)
def test_a_permanent_error_is_named_and_not_retried(
    server: FileServer, path: Path, status: int, parts: list[str]
) -> None:
    server.statuses = [status]
    message = _message(server, path)
    assert message.startswith(f"{server.url}{NAME}: ")
    assert all(part in message for part in parts)
    assert len(server.asked) == 1


def test_a_transient_error_is_retried_with_longer_waits(server: FileServer, path: Path) -> None:
    server.statuses = [503, 429, 500]
    assert _download(server, path) == [1.0, 2.0, 4.0]
    assert path.read_bytes() == CONTENT


def test_a_server_that_sends_nothing_more_ends_the_tries_and_the_part_stays(server: FileServer, path: Path) -> None:
    server.cuts = [100_000]
    with pytest.raises(
        DownloadError, match=f"the server answers 503, {TRIES} times in a row; .* after the 100.00 kB received"
    ):
        download_file(Source(server.url + NAME, "0" * 64), path, lambda _: server.statuses.append(503))
    assert path.with_name(".captions.json.part").read_bytes() == CONTENT[:100_000]


def test_no_server_is_one_message(path: Path, tmp_path: Path) -> None:
    with FileServer() as server:
        pass
    message = _message(server, path)
    assert f"{TRIES} times in a row; does this machine have network access" in message


def test_a_full_disk_is_one_message_and_the_part_stays(server: FileServer, path: Path) -> None:
    path.parent.mkdir(parents=True)
    part = path.with_name(".captions.json.part")
    part.symlink_to("/dev/full")
    server.validator = None

    class PartOnFullDisk(download._PartialFile):
        def clear(self) -> None:
            """Leave the link: a write to it fails as on a full disk."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "_PartialFile", PartOnFullDisk)
        message = _message(server, path)
    assert message.startswith(f"{part}: the disk is full (")
    assert message.endswith("make room and run snakemake again: it resumes there")
    assert part.is_symlink()


def test_one_new_byte_a_try_does_not_go_on_for_ever(server: FileServer, path: Path) -> None:
    server.cuts = [1] * 1_000
    assert f"{TRIES} times in a row" in _message(server, path)
    assert len(server.asked) <= TRIES + 1


def test_a_server_that_drips_is_a_failed_try(
    server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    times = iter(range(0, 10**9, 100))
    monkeypatch.setattr(download.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(download, "PROGRESS_BYTES", 10**9)
    with suppress(DownloadError):
        _download(server, path)
    assert "the server sends only" in caplog.text


def test_an_endless_file_is_stopped_and_leaves_nothing(server: FileServer, path: Path) -> None:
    with pytest.raises(DownloadError, match=r"sends more than 1\.00 kB, and the part was deleted; .*\.max_gb"):
        download_file(Source(server.url + NAME, "0" * 64, 1_000), path)
    assert _files(path) == []


def test_addresses_are_shown_without_secrets(server: FileServer, path: Path) -> None:
    secret = server.url.replace("://", "://user:hunter2@") + "{}?token=hunter2"
    for name, checksum in ((NAME, "0" * 64), ("/nowhere.json", "0" * 64)):
        with pytest.raises(DownloadError) as error:
            download_file(Source(secret.format(name), checksum), path)
        assert "hunter2" not in str(error.value) and f"{name}?…" in str(error.value)
    assert not [each for each in path.parent.iterdir() if b"hunter2" in each.read_bytes()]
