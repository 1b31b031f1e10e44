"""The store of pictures: what is read back of whole, cut and damaged segments."""

import resource
from pathlib import Path

import pytest

from icsd.core.errors import DiskFullError
from icsd.core.store import READ_BYTES, KeptPictures

PICTURES = {f"{number:064x}": bytes([number]) * (3 * number + 1) for number in range(10)}
ITEMS = list(PICTURES.items())


def _written(folder: Path, *sizes: int) -> Path:
    """The segment of a store with the first pictures, in blocks of those sizes."""
    store, start = KeptPictures(folder, "run"), 0
    with store.writer() as segment:
        for size in sizes:
            segment.keep(ITEMS[start : start + size])
            start += size
    (path,) = store.own.iterdir()
    return path


def test_what_was_kept_is_found_by_all_runs_and_counted_by_its_own(tmp_path: Path) -> None:
    _written(tmp_path, 2, 3, 1)
    store = KeptPictures(tmp_path, "other")
    assert store.find(PICTURES) == dict(ITEMS[:6])
    assert store.find([ITEMS[3][0], "ab" * 32]) == dict(ITEMS[3:4])
    assert (store.count(), KeptPictures(tmp_path, "run").count()) == (0, 6)


def test_a_store_that_is_not_there_is_empty_and_reading_makes_nothing(tmp_path: Path) -> None:
    store = KeptPictures(tmp_path / "drawn", "run")
    with store.writer():
        assert (store.find(PICTURES), store.count()) == ({}, 0)
    assert not store.folder.exists()


def test_a_batch_with_more_entries_than_one_read_is_found(tmp_path: Path) -> None:
    many = {f"{number:064x}": b"PNG %d" % number for number in range(READ_BYTES // 40 + 50)}
    store = KeptPictures(tmp_path, "run")
    with store.writer() as segment:
        segment.keep(list(many.items()))
        segment.keep([("ab" * 32, b"the last")])
    assert store.find([*many, "ab" * 32]) == many | {"ab" * 32: b"the last"}


def test_a_segment_cut_anywhere_gives_its_whole_pictures(tmp_path: Path) -> None:
    path = _written(tmp_path, 3, 3)
    whole, store, counts = path.read_bytes(), KeptPictures(tmp_path, "run"), []
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        found = store.find(PICTURES)
        assert found == dict(ITEMS[: len(found)])
        assert store.count() == len(found)
        counts.append(len(found))
    assert counts == sorted(counts) and set(counts) == set(range(7))


def test_a_damaged_byte_never_gives_another_picture(tmp_path: Path) -> None:
    path = _written(tmp_path, 3, 3)
    whole, store = path.read_bytes(), KeptPictures(tmp_path, "run")
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        found = store.find(PICTURES)
        assert found.items() <= dict(ITEMS).items() and len(found) < 6
    path.write_bytes(b"\0" * len(whole))  # as some file systems leave a file after a loss of power
    assert store.find(PICTURES) == {}


def test_a_picture_drawn_anew_replaces_its_damaged_copy(tmp_path: Path) -> None:
    path = _written(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    store = KeptPictures(tmp_path, "run")
    assert store.find(PICTURES) == {}
    with store.writer() as segment:
        segment.keep(ITEMS[:1])
    assert store.find(PICTURES) == dict(ITEMS[:1])


def test_jobs_that_write_at_once_have_a_file_each(tmp_path: Path) -> None:
    store = KeptPictures(tmp_path, "run")
    with store.writer() as first, store.writer() as second:
        for number, item in enumerate(ITEMS):
            (first if number % 3 else second).keep([item])
            assert store.find(PICTURES) == dict(ITEMS[: number + 1])
        second.keep(ITEMS[1:2])  # both drew it
    assert store.find(PICTURES) == PICTURES
    assert (store.count(), len(list(store.own.iterdir()))) == (10, 2)


def test_a_full_disk_is_named_and_leaves_what_was_kept(tmp_path: Path) -> None:
    store = KeptPictures(tmp_path, "run")
    _, limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with store.writer() as segment, store.writer() as empty:
        segment.keep(ITEMS[:4])
        (path,) = store.own.iterdir()
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limit))
        try:
            with pytest.raises(DiskFullError, match=rf"^{path}: there is no room .*; free some room there and run"):
                segment.keep(ITEMS[4:8])
            with pytest.raises(DiskFullError):
                empty.keep([("ab" * 32, b"x" * 1000)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        assert path.stat().st_size == size
        assert list(store.own.iterdir()) == [path]
        segment.keep(ITEMS[8:])
    assert store.find(PICTURES) == dict(ITEMS[:4] + ITEMS[8:])
