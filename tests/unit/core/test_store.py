"""The append-only store: records read back from whole, cut and damaged segments."""

import resource
from pathlib import Path

import pytest

from icsd.core.errors import DiskFullError
from icsd.core.store import READ_BYTES, Store
from icsd.stages.images import image_store

OLD_STORES = Path(__file__).parents[2] / "support/old_stores"
RECORDS = {f"{number:064x}": bytes([number]) * (3 * number + 1) for number in range(10)}
ITEMS = list(RECORDS.items())


def _written(folder: Path, *sizes: int) -> Path:
    """The segment of a store with the first records, in blocks of those sizes."""
    store, start = Store(folder, ".records", "run"), 0
    with store.writer() as segment:
        for size in sizes:
            segment.append(ITEMS[start : start + size])
            start += size
    (path,) = store.own_folder.iterdir()
    return path


def test_records_are_found_from_all_parts_and_counted_in_one(tmp_path: Path) -> None:
    _written(tmp_path, 2, 3, 1)
    store = Store(tmp_path, ".records", "other")
    assert store.find(RECORDS) == dict(ITEMS[:6])
    assert store.find([ITEMS[3][0], "ab" * 32]) == dict(ITEMS[3:4])
    assert (store.count(), Store(tmp_path, ".records", "run").count()) == (0, 6)


def test_a_missing_store_is_empty_and_reading_creates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "drawn", ".records", "run")
    with store.writer():
        assert (store.find(RECORDS), store.count()) == ({}, 0)
    assert not store.folder.exists()


def test_a_block_with_more_entries_than_one_read_is_found(tmp_path: Path) -> None:
    many = {f"{number:064x}": b"PNG %d" % number for number in range(READ_BYTES // 40 + 50)}
    store = Store(tmp_path, ".records", "run")
    with store.writer() as segment:
        segment.append(list(many.items()))
        segment.append([("ab" * 32, b"the last")])
    assert store.find([*many, "ab" * 32]) == many | {"ab" * 32: b"the last"}


def test_a_segment_cut_anywhere_gives_its_whole_records(tmp_path: Path) -> None:
    path = _written(tmp_path, 3, 3)
    whole, store, counts = path.read_bytes(), Store(tmp_path, ".records", "run"), []
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        found = store.find(RECORDS)
        assert found == dict(ITEMS[: len(found)])
        assert store.count() == len(found)
        counts.append(len(found))
    assert counts == sorted(counts) and set(counts) == set(range(7))


def test_a_damaged_byte_never_gives_another_record(tmp_path: Path) -> None:
    path = _written(tmp_path, 3, 3)
    whole, store = path.read_bytes(), Store(tmp_path, ".records", "run")
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        found = store.find(RECORDS)
        assert found.items() <= dict(ITEMS).items() and len(found) < 6
    path.write_bytes(b"\0" * len(whole))  # as some file systems leave a file after a loss of power
    assert store.find(RECORDS) == {}


def test_a_record_made_again_replaces_its_damaged_copy(tmp_path: Path) -> None:
    path = _written(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    store = Store(tmp_path, ".records", "run")
    assert store.find(RECORDS) == {}
    with store.writer() as segment:
        segment.append(ITEMS[:1])
    assert store.find(RECORDS) == dict(ITEMS[:1])


def test_concurrent_writers_have_a_segment_each(tmp_path: Path) -> None:
    store = Store(tmp_path, ".records", "run")
    with store.writer() as first, store.writer() as second:
        for number, item in enumerate(ITEMS):
            (first if number % 3 else second).append([item])
            assert store.find(RECORDS) == dict(ITEMS[: number + 1])
        second.append(ITEMS[1:2])  # both made it
    assert store.find(RECORDS) == RECORDS
    assert (store.count(), len(list(store.own_folder.iterdir()))) == (10, 2)


def test_a_full_disk_is_named_and_leaves_what_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path, ".records", "run")
    _, limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with store.writer() as segment, store.writer() as empty:
        segment.append(ITEMS[:4])
        (path,) = store.own_folder.iterdir()
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limit))
        try:
            with pytest.raises(DiskFullError, match=rf"^{path}: there is no room .*; free some room there and run"):
                segment.append(ITEMS[4:8])
            with pytest.raises(DiskFullError):
                empty.append([("ab" * 32, b"x" * 1000)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        assert path.stat().st_size == size
        assert list(store.own_folder.iterdir()) == [path]
        segment.append(ITEMS[8:])
        empty.append([("ab" * 32, b"the file that found no room is gone")])
    assert store.find([*RECORDS, "ab" * 32]) == dict(ITEMS[:4] + ITEMS[8:]) | {
        "ab" * 32: b"the file that found no room is gone"
    }


def test_all_records_are_read_in_their_order(tmp_path: Path) -> None:
    _written(tmp_path, 2, 3)
    assert list(Store(tmp_path, ".records").records()) == ITEMS[:5]


def test_a_writer_without_records_creates_no_file(tmp_path: Path) -> None:
    with Store(tmp_path / "new", ".records").writer() as segment:
        segment.append([])
    assert not (tmp_path / "new").exists()


def test_pictures_stored_before_the_stores_were_one_are_found() -> None:
    store = image_store(OLD_STORES / "images", "old")
    pictures = {f"{number:064x}": bytes([number]) * (3 * number + 1) for number in range(3)}
    assert store.find([*pictures, "ab" * 32, "cd" * 32]) == pictures | {"ab" * 32: b"PNG"}
    assert store.count() == 4
