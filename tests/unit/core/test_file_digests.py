import hashlib
import os
from pathlib import Path

import pytest

from icsd.core import files
from icsd.core.files import LARGE_BYTES, FileDigests


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"a" * LARGE_BYTES)
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    seen: list[Path] = []

    def recording(path: Path) -> str:
        seen.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(files, "file_sha256", recording)
    return seen


def test_a_large_file_that_has_settled_is_read_once(
    tmp_path: Path, large: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SETTLED_S", -1.0)
    cache = tmp_path / "drawn" / "digests.json"
    expected = hashlib.sha256(large.read_bytes()).hexdigest()
    assert [FileDigests(cache).sha256(large) for _ in range(3)] == [expected] * 3
    assert read == [large]
    times = large.stat().st_atime_ns, large.stat().st_mtime_ns
    large.write_bytes(b"b" * LARGE_BYTES)
    os.utime(large, ns=times)  # as `cp -p` and rsync do
    assert FileDigests(cache).sha256(large) == hashlib.sha256(b"b" * LARGE_BYTES).hexdigest()
    assert [path.name for path in cache.parent.iterdir()] == ["digests.json"]


def test_small_and_fresh_files_are_read_each_time(tmp_path: Path, large: Path, read: list[Path]) -> None:
    small, cache = tmp_path / "small", tmp_path / "digests.json"
    small.write_bytes(b"a")
    for path in (small, large, small, large):
        FileDigests(cache).sha256(path)
    assert read == [small, large, small, large]
    assert not cache.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"cut'])
def test_a_damaged_cache_is_ignored(tmp_path: Path, large: Path, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SETTLED_S", -1.0)
    cache = tmp_path / "digests.json"
    cache.write_text(content)
    assert FileDigests(cache).sha256(large) == hashlib.sha256(large.read_bytes()).hexdigest()
    assert FileDigests(cache)._read()
