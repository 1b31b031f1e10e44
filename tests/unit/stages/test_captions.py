import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from icsd.core import tables
from icsd.core.errors import InputError, TooManyDroppedError
from icsd.core.ids import shard_names, shard_of
from icsd.corpora import Corpus
from icsd.stages.captions import read_captions

IMAGES = [{"id": number, "file_name": f"{number}.jpg"} for number in (1, 2)]
ANNOTATIONS = [
    {"id": 12, "image_id": 1, "caption": "a dog"},
    {"id": 10, "image_id": 2, "caption": " A café at night.\n"},
    {"id": 11, "image_id": 1, "caption": "a dog"},
]
GOOD = {"images": IMAGES, "annotations": ANNOTATIONS}


def _read(folder: Path, content: object, shards: int = 1, max_characters: int = 1_000) -> Path:
    """Read a file of this content: bytes as they are, all else as JSON."""
    path = folder / "annotations.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode())
    captions = folder / "out" / "all.parquet"
    read_captions(Corpus((path,), split="train"), max_characters, captions, shards)
    return captions


def _annotation(**changes: Any) -> dict[str, Any]:
    """A good document whose first annotation is changed; None leaves a key out."""
    record = {key: value for key, value in (ANNOTATIONS[0] | changes).items() if value is not None}
    return {"images": IMAGES, "annotations": [record, *ANNOTATIONS[1:]]}


def test_captions_come_as_published_and_by_id(tmp_path: Path) -> None:
    rows = tables.read(_read(tmp_path, GOOD), tables.CAPTIONS).to_pylist()
    assert rows == [
        {"caption_id": 10, "image_id": 2, "caption": " A café at night.\n", "split": "train"},
        {"caption_id": 11, "image_id": 1, "caption": "a dog", "split": "train"},
        {"caption_id": 12, "image_id": 1, "caption": "a dog", "split": "train"},
    ]


def test_each_caption_lies_in_its_ids_shard_and_a_shard_may_be_empty(tmp_path: Path) -> None:
    path = _read(tmp_path, GOOD, shards=40)
    shards = [tables.read(path, tables.CAPTIONS, shard=name) for name in shard_names(40)]
    found = [rows["caption_id"].to_pylist() for rows in shards]
    assert {number: shard for shard, ids in enumerate(found) for number in ids} == {
        number: shard_of(number, 40) for number in (10, 11, 12)
    }
    assert found.count([]) >= 37


def test_the_order_of_the_file_changes_nothing(tmp_path: Path) -> None:
    before = _read(tmp_path, GOOD).read_bytes()
    assert _read(tmp_path, GOOD | {"annotations": ANNOTATIONS[::-1]}).read_bytes() == before


@pytest.mark.parametrize("run", [1, 2, 7, 60])
def test_a_corpus_read_in_batches_gives_the_same_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: int
) -> None:
    """A corpus that does not fit into memory is read in this way."""
    annotations = [{"id": 7 * n % 60, "image_id": 1 + n % 2, "caption": f"caption {n}"} for n in range(60)]
    at_once = _read(tmp_path, GOOD | {"annotations": annotations}, shards=5).read_bytes()
    monkeypatch.setattr("icsd.stages.captions.BATCH", run)
    assert _read(tmp_path, GOOD | {"annotations": annotations}, shards=5).read_bytes() == at_once
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["all.parquet"]


def test_several_files_are_one_corpus(tmp_path: Path) -> None:
    for name, text in (("one.txt", "a dog\na ball\n"), ("two.txt", "a café\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    out = tmp_path / "out.parquet"
    read_captions(Corpus((tmp_path / "one.txt", tmp_path / "two.txt"), split="train"), 100, out, 1)
    assert tables.read(out, tables.CAPTIONS).to_pylist() == [
        {"caption_id": number, "image_id": None, "caption": text, "split": "train"}
        for number, text in [(1, "a dog"), (2, "a ball"), (3, "a café")]
    ]


@pytest.mark.parametrize("run", [1, 100])
def test_an_id_doubled_in_joined_files_is_named_with_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: int
) -> None:
    monkeypatch.setattr("icsd.stages.captions.BATCH", run)
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("caption,caption_id\na,4\nb,5\n")
    two.write_text("caption,caption_id\nc,6\nd,5\n")
    with pytest.raises(InputError) as error:
        read_captions(Corpus((one, two)), 100, tmp_path / "out" / "0.parquet", 1)
    assert f"{two}, line 3: repeats the id 5 of {one}, line 3; keep one" in str(error.value)
    assert not list((tmp_path / "out").glob("*"))


def test_a_split_is_its_own_or_what_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("caption,split\na,train\nb,restval\nc,test\n")
    out = tmp_path / "out.parquet"
    read_captions(Corpus((path,), split="train"), 100, out, 1)
    assert tables.read(out, tables.CAPTIONS)["split"].to_pylist() == ["train", "restval"]
    read_captions(Corpus((path,), split="all"), 100, out, 1)
    assert tables.read(out, tables.CAPTIONS)["split"].to_pylist() == ["train", "restval", "test"]


def test_a_byte_order_mark_is_no_caption(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + json.dumps(GOOD).encode()
    assert len(tables.read(_read(tmp_path, content), tables.CAPTIONS)) == 3


def test_the_longest_caption_allowed_is_read(tmp_path: Path) -> None:
    path = _read(tmp_path, _annotation(caption="x" * 1_000))
    assert max(len(text) for text in tables.read(path, tables.CAPTIONS)["caption"].to_pylist()) == 1_000


WHOLE = json.dumps(GOOD).encode()


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (WHOLE[:-20], ["line 1, column ", "is not JSON", "was it cut short?", "give a whole file"]),
        (b"", ["is not JSON"]),
        (WHOLE.replace(b"dog", b"d\xffg", 1), ["byte 1", "is not UTF-8", "convert the file"]),
        (json.dumps(GOOD).encode("utf-16"), ["is not UTF-8"]),
        (b'{"images": ' + b"[" * 100_000, ["is JSON that cannot be read"]),
        (b'{"images": [{"id": ' + b"1" * 5_000 + b"}]}", ["is JSON that cannot be read"]),
        ([GOOD], ["read as coco, it holds a list, not an object", "read as blip, [0] has no image"]),
        ({"annotations": ANNOTATIONS}, ["read as coco, images is missing", "set its layout: auto, coco"]),
        (GOOD | {"annotations": {"1": "a dog"}}, ["read as coco, annotations is no list"]),
        (GOOD | {"annotations": []}, ["holds no caption", "give a file with captions"]),
        (GOOD | {"annotations": ["a dog"]}, ["annotations[0]", "is no object"]),
        (_annotation(id="twelve"), ["annotations[0]", 'its id is "twelve", not a whole number']),
        (_annotation(id=True), ["annotations[0]", "its id is true"]),
        (_annotation(id=2**63), ["annotations[0]", "not a whole number of 64 bits"]),
        (_annotation(id=11), ["annotations[2] (id 11)", "repeats the id 11", "keep one of the two"]),
        (_annotation(image_id=None), ["annotations[0] (id 12)", "has no image_id"]),
        (_annotation(image_id=7), ["(id 12): its image 7 is not among the images", "add the image or"]),
        (_annotation(caption=None), ["annotations[0] (id 12)", "has no caption"]),
        (_annotation(caption=""), ["annotations[0] (id 12)", "its caption is empty", "remove the record"]),
        (_annotation(caption=" \n"), ["annotations[0] (id 12)", "its caption is empty"]),
        (_annotation(caption=["x" * 500]), ["annotations[0] (id 12)", "its caption is [", "…, not a text"]),
        (_annotation(caption="x" * 5_000), ["[0] (id 12), caption 12", "5,000 characters", "max_characters=1,000"]),
        (WHOLE.replace(b"dog", b"\\ud83d", 1), ["annotations[0] (id 12)", "character 2", "half of a surrogate pair"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_written(tmp_path: Path, content: object, parts: list[str]) -> None:
    with pytest.raises(InputError) as error:
        _read(tmp_path, content)
    message = str(error.value)
    assert all(part in message for part in [str(tmp_path / "annotations.json"), *parts]), message
    assert len(message) < 500
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_a_column_of_ids_is_no_captions(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text("139\n785\na dog\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"2 of its first 3 captions have no letter, such as '139'; .*columns\.caption"
    ):
        read_captions(Corpus((path,)), 1_000, tmp_path / "all.parquet", 1)
    path.write_text("139\na dog\n", encoding="utf-8")
    read_captions(Corpus((path,)), 1_000, tmp_path / "all.parquet", 1)


def test_a_few_unusable_records_are_dropped_with_their_reasons(tmp_path: Path) -> None:
    path, out = tmp_path / "x.csv", tmp_path / "out" / "all.parquet"
    path.write_text("caption,image_id\n" + "a dog,1.0\n" * 7 + ",2\nNA,\n" + "x" * 200 + ",3\n")
    read_captions(Corpus((path,), missing=("NA",)), 100, out, 2, max_drop_share=0.3)
    rows = tables.read(out, tables.CAPTIONS).to_pylist()
    assert sorted(row["caption_id"] for row in rows) == [1, 2, 3, 4, 5, 6, 7]
    assert {row["image_id"] for row in rows} == {1}
    ledger = tables.read(out.with_name("dropped.parquet"), tables.LEDGER).to_pylist()
    assert [(row["stage"], row["item_id"], row["kept"], row["reason"]) for row in ledger] == [
        ("captions", f"{path}, line 9", False, "its caption is empty"),
        ("captions", f"{path}, line 10", False, "stands for no caption"),
        ("captions", f"{path}, line 11, caption 10", False,
         "its caption is too long: 200 characters, where captions.max_characters=100 are allowed"),
    ]  # fmt: skip
    path.write_text("caption\na dog\n")
    read_captions(Corpus((path,)), 100, out, 2, max_drop_share=0.3)
    assert [each.name for each in out.parent.iterdir()] == ["all.parquet"]


def test_too_many_unusable_records_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("a dog\n\n\n")
    with pytest.raises(TooManyDroppedError) as error:
        read_captions(Corpus((path,)), 100, tmp_path / "out" / "all.parquet", 1, max_drop_share=0.5)
    message = str(error.value)
    assert f"2 of 3 records of {path} were dropped, more than captions.max_drop_share=0.5 allows" in message
    assert f"holds no caption (2); for example {path}, line 2: holds no caption. Mend or remove them" in message
    assert not list((tmp_path / "out").glob("*"))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: there is no such file; mend its path"):
        read_captions(Corpus((tmp_path / "none.json",)), 100, tmp_path / "out.parquet", 1)
    with pytest.raises(InputError, match=r"is a folder; name the file with the captions"):
        read_captions(Corpus((tmp_path,), "coco"), 100, tmp_path / "out.parquet", 1)


def test_the_benchmark_of_memory_runs() -> None:
    """At a size that measures nothing."""
    script = Path(__file__).parents[3] / "benchmarks" / "captions.py"
    command = [sys.executable, str(script), "--captions", "200", "--shards", "2"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"20 captions, 2 shards: .*\n200 captions.*\nTen times the captions take [\d.]+ .*\n", said)
