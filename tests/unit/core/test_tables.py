import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import shard_names, shard_of

ROWS = [
    {"caption_id": 1, "image_id": 7, "caption": "a dog", "split": "train"},
    {"caption_id": 2, "image_id": 7, "caption": "un café, 犬", "split": "train"},
]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A whole CAPTIONS file."""
    path = tmp_path / "captions.parquet"
    tables.write(path, tables.CAPTIONS, ROWS)
    return path


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_rows_come_back_as_written(shard: Path) -> None:
    assert tables.read(shard, tables.CAPTIONS).to_pylist() == ROWS


def test_columns_come_in_the_order_asked_for(shard: Path) -> None:
    read = tables.read(shard, tables.CAPTIONS, columns=["caption", "caption_id"])
    assert read.to_pylist() == [{"caption": row["caption"], "caption_id": row["caption_id"]} for row in ROWS]


def test_lists_come_back_with_the_tables_own_types(tmp_path: Path) -> None:
    tables.write(tmp_path / "e.parquet", tables.EMBEDDINGS, [{"caption_id": 3, "embedding": [0.5, -0.25]}])
    read = tables.read(tmp_path / "e.parquet", tables.EMBEDDINGS)
    assert read.schema.equals(tables.EMBEDDINGS.schema)
    assert read["embedding"].to_pylist() == [[0.5, -0.25]]


SHARDED = [[], ROWS[:1], [], ROWS[1:]]


def test_only_row_groups_that_can_have_a_key_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "all.parquet", list[int]()
    tables.write_batches(path, tables.CAPTIONS, [[ROWS[0] | {"caption_id": i}] for i in range(5)])
    whole = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda *args: read.append(args[1]) or whole(*args))
    columns = ["caption_id", "caption"]
    assert tables.select(path, tables.CAPTIONS, "caption_id", pa.array([3, 9]), columns).to_pylist() == [
        {"caption_id": 3, "caption": "a dog"}
    ]
    assert set(read) == {3, 4}  # the others have lower ids alone
    assert len(tables.select(path, tables.CAPTIONS, "caption_id", pa.array([], pa.int64()))) == 0
    assert len(tables.select(path, tables.CAPTIONS, "caption", pa.array(["a dog"]))) == 5


def test_the_row_group_of_a_keys_shard_is_read_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "all.parquet", list[int]()
    own = shard_of(5, 4)
    shards = [[{"caption_id": 100 * i + j} for j in (-200, 300)] for i in range(4)]
    shards[own].append({"caption_id": 5})
    shards[own - 1].append({"caption_id": 6})
    tables.write_batches(path, tables.CAPTIONS, shards)
    whole = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda *args: read.append(args[1]) or whole(*args))
    assert tables.select(path, tables.CAPTIONS, "caption_id", pa.array([5]), ["caption_id"]).to_pylist() == [
        {"caption_id": 5}
    ]
    assert set(read) == {own}
    assert len(tables.select(path, tables.CAPTIONS, "caption_id", pa.array([6]))) == 1


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_a_doubled_key_of_several_columns_is_found_in_any_order(tmp_path: Path, order: list[int]) -> None:
    pairs = [("a", 1), ("a", 2), ("b", 1)]
    rows = [{"image_id": pairs[i][0], "caption_id": pairs[i][1], "caption": "c"} for i in order]
    tables.write(tmp_path / "pairs.parquet", tables.PAIRS, rows)
    with pytest.raises(ValueError, match="doubled image_id, caption_id: a, 1"):
        tables.write(tmp_path / "pairs.parquet", tables.PAIRS, [*rows, {"image_id": "a", "caption_id": 1}])


def test_of_a_table_with_a_row_group_a_shard_one_is_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    tables.write_batches(path, tables.CAPTIONS, [SHARDED[0], pa.Table.from_pylist(SHARDED[1]), *SHARDED[2:]])
    for name, rows in zip(shard_names(4), SHARDED, strict=True):
        assert tables.read(path, tables.CAPTIONS, shard=name).to_pylist() == rows
        ids = tables.read(path, tables.CAPTIONS, ["caption_id"], shard=name)["caption_id"].to_pylist()
        assert ids == [row["caption_id"] for row in rows]
    assert tables.read(path, tables.CAPTIONS).to_pylist() == ROWS


def test_a_shard_larger_than_parquets_own_row_groups_stays_one(tmp_path: Path) -> None:
    ids = np.arange(2**20 + 1)
    rows = pa.table({"caption_id": ids, "group_times": np.ones(len(ids), np.int32)})
    tables.write_batches(tmp_path / "all.parquet", tables.GROUP_TIMES, [rows, rows.slice(0, 0)])
    assert len(tables.read(tmp_path / "all.parquet", tables.GROUP_TIMES, shard="0000-of-0002")) == len(ids)


@pytest.mark.parametrize("shard", ["0000-of-0003", "0002-of-0005"])
def test_a_table_of_another_number_of_shards_is_named(tmp_path: Path, shard: str) -> None:
    tables.write_batches(tmp_path / "all.parquet", tables.CAPTIONS, SHARDED)
    with pytest.raises(InputError, match=f"all.parquet, {shard}: the file has 4 shards; delete it and run"):
        tables.read(tmp_path / "all.parquet", tables.CAPTIONS, shard=shard)


def test_a_doubled_key_in_two_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="captions with a doubled caption_id: 2"):
        tables.write_batches(tmp_path / "all.parquet", tables.CAPTIONS, [ROWS, ROWS[1:]])
    assert _left(tmp_path) == []


def test_an_empty_table_has_its_columns(tmp_path: Path) -> None:
    tables.write(tmp_path / "none.parquet", tables.SUMMARIES, [])
    read = tables.read(tmp_path / "none.parquet", tables.SUMMARIES)
    assert (len(read), read.schema.names) == (0, tables.SUMMARIES.schema.names)


def test_a_file_is_stamped_with_name_and_version(shard: Path) -> None:
    stamp = pq.read_schema(shard).metadata[b"icsd"]
    assert json.loads(stamp) == {"table": "captions", "version": 1}


def test_equal_rows_give_equal_bytes(shard: Path, tmp_path: Path) -> None:
    tables.write(tmp_path / "again.parquet", tables.CAPTIONS, ROWS)
    assert (tmp_path / "again.parquet").read_bytes() == shard.read_bytes()


def test_concat_keeps_the_order_of_the_files(shard: Path, tmp_path: Path) -> None:
    tables.write(tmp_path / "other.parquet", tables.CAPTIONS, [ROWS[0] | {"caption_id": 0}])
    ids = tables.concat([shard, tmp_path / "other.parquet"], tables.CAPTIONS)["caption_id"].to_pylist()
    assert ids == [1, 2, 0]


def test_gather_writes_one_file_of_the_same_kind(shard: Path, tmp_path: Path) -> None:
    tables.write(tmp_path / "other.parquet", tables.CAPTIONS, [ROWS[0] | {"caption_id": 0}])
    tables.gather([shard, tmp_path / "other.parquet"], tables.CAPTIONS, tmp_path / "all.parquet")
    assert tables.read(tmp_path / "all.parquet", tables.CAPTIONS)["caption_id"].to_pylist() == [1, 2, 0]


def test_a_doubled_key_is_refused_and_the_old_file_stays(shard: Path, tmp_path: Path) -> None:
    before = shard.read_bytes()
    with pytest.raises(ValueError, match="captions with a doubled caption_id: 2"):
        tables.write(shard, tables.CAPTIONS, [*ROWS, ROWS[1]])
    assert shard.read_bytes() == before
    assert _left(tmp_path) == ["captions.parquet"]


def test_a_doubled_key_of_two_columns_is_refused(tmp_path: Path) -> None:
    rows = [{"image_id": "multi-1", "caption_id": number, "caption": "x"} for number in (1, 2, 1)]
    tables.write(tmp_path / "pairs.parquet", tables.PAIRS, rows[:2])
    with pytest.raises(ValueError, match="doubled image_id, caption_id: multi-1, 1"):
        tables.write(tmp_path / "pairs.parquet", tables.PAIRS, rows)


def test_a_value_of_another_type_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowInvalid):
        tables.write(tmp_path / "captions.parquet", tables.CAPTIONS, [ROWS[0] | {"caption_id": "one"}])
    assert _left(tmp_path) == []


def _assert_refused(path: Path, *parts: str) -> None:
    with pytest.raises(InputError) as error:
        tables.read(path, tables.CAPTIONS)
    message = str(error.value)
    assert all(part in message for part in (str(path), *parts)), message
    assert "\n" not in message


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short_is_named_with_the_way_out(shard: Path, share: float) -> None:
    data = shard.read_bytes()
    shard.write_bytes(data[: int(share * len(data))])
    _assert_refused(shard, "is no whole Parquet file", "was it cut short?", "delete it and run snakemake again")


def test_another_file_in_its_place_is_named(shard: Path) -> None:
    shard.write_text("caption_id,caption\n1,a dog\n" * 10)
    _assert_refused(shard, "is no whole Parquet file")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    _assert_refused(tmp_path / "none.parquet", "there is no such file", "run snakemake")


def test_a_parquet_file_of_others_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"caption_id": [1]}), tmp_path / "foreign.parquet")
    _assert_refused(tmp_path / "foreign.parquet", "without this project's stamp", "delete it and run snakemake again")


def test_another_table_in_its_place_is_named(tmp_path: Path) -> None:
    tables.write(tmp_path / "pairs.parquet", tables.PAIRS, [])
    _assert_refused(tmp_path / "pairs.parquet", "captions of version 1", '{"table": "pairs", "version": 1}')


def test_an_older_version_is_named(shard: Path) -> None:
    newer = replace(tables.CAPTIONS, version=2)
    with pytest.raises(InputError, match=r"is not a table captions of version 2 but .*1"):
        tables.read(shard, newer)


def test_an_optional_column_of_an_older_file_is_null(tmp_path: Path) -> None:
    rows = pa.table({"image_id": ["multi-1"], "caption_id": [1], "caption": ["a dog"]})
    pq.write_table(rows.replace_schema_metadata(tables.PAIRS.metadata()), tmp_path / "pairs.parquet")
    row = {"image_id": "multi-1", "caption_id": 1, "caption": "a dog", "weight": None}
    assert tables.read(tmp_path / "pairs.parquet", tables.PAIRS).to_pylist() == [row]
    assert tables.read(tmp_path / "pairs.parquet", tables.PAIRS, ["weight"]).to_pylist() == [{"weight": None}]
    assert [part.num_rows for part in tables.parts(tmp_path / "pairs.parquet", tables.PAIRS)] == [1]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    rows = pa.table({"caption_id": [1]}).replace_schema_metadata(tables.CAPTIONS.metadata())
    pq.write_table(rows, tmp_path / "narrow.parquet")
    _assert_refused(tmp_path / "narrow.parquet", "image_id", "the column is missing")


@pytest.mark.parametrize(
    "table", [value for value in vars(tables).values() if isinstance(value, tables.Table)], ids=lambda table: table.name
)
def test_every_table_has_a_key_among_its_columns(table: tables.Table) -> None:
    assert table.key
    assert set(table.key) <= set(table.schema.names)
