from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shared_data import SHARED, needs

from icsd.config import GuardConfig
from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import shard_names, shard_of
from icsd.core.vectors import to_lists, unit_on_grid
from icsd.stages.embeddings import gather_embeddings
from icsd.stages.groups import find_neighbors, form_groups
from icsd.stages.guard import ReferenceTables, guard_captions

DROP, REPORT, OFF = "drop", "report", "off"
LONG = "a black dog runs along the beach with a red ball in its mouth"
Found = dict[int, str]


def _captions(path: Path, texts: dict[int, str], shards: int = 1) -> Path:
    rows: list[list[dict[str, Any]]] = [[] for _ in range(shards)]
    for number, text in sorted(texts.items()):
        rows[shard_of(number, shards)].append({"caption_id": number, "image_id": number // 10, "caption": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    tables.write_batches(path, tables.CAPTIONS, rows)
    return path


def _embeddings(path: Path, vectors: dict[int, list[float]], about: str = "clip") -> Path:
    matrix = unit_on_grid(np.array(list(vectors.values()))) if vectors else np.zeros((0, 2), np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.table({"caption_id": pa.array(list(vectors), pa.int64()), "embedding": to_lists(matrix)})
    tables.write(path, tables.EMBEDDINGS, rows, {"model": about})
    return path


def _guard(
    folder: Path,
    texts: dict[int, str],
    known: dict[str, dict[int, str]] | None = None,
    *,
    shards: int = 1,
    **settings: Any,
) -> tuple[dict[str, Found], list[int]]:
    """The captions found at each stage, with reasons, and the ids of those that are kept; by n-grams alone."""
    config = GuardConfig(**{"duplicates": OFF, "references": OFF, "min_cosine": None} | settings)
    tests = [
        ReferenceTables(split, _captions(folder / f"{split}.parquet", each)) for split, each in (known or {}).items()
    ]
    captions, ledger, kept = (folder / f"{name}.parquet" for name in ("all", "guard", "kept"))
    guard_captions(_captions(captions, texts, shards), [], tests, config, ledger, kept)
    rows = tables.read(ledger, tables.LEDGER).to_pylist()
    found: dict[str, Found] = {row["stage"]: {} for row in rows}
    for row in rows:
        if row["reason"]:
            found[row["stage"]][int(row["item_id"])] = row["reason"]
            assert row["kept"] == (getattr(config, row["stage"]) == REPORT)
        else:
            assert row["kept"]
    return found, sorted(tables.read(kept, tables.CAPTIONS)["caption_id"].to_pylist())


# --- Duplicates -------------------------------------------------------------------------------------------------------


def test_the_same_text_is_found_whatever_its_case_and_punctuation(tmp_path: Path) -> None:
    texts = {3: "A dog, on a bed.", 5: "a dog on a bed", 9: "a dog on a bed ", 11: "a cat on a bed"}
    found, kept = _guard(tmp_path, texts, duplicates=DROP)
    assert found["duplicates"] == {5: "same text: caption 3", 9: "same text: caption 3"}
    assert kept == [3, 11]


def test_nearly_the_same_text_is_found_and_a_different_one_is_not(tmp_path: Path) -> None:
    texts = {1: LONG, 2: f"{LONG} today", 3: "a man rides a horse", 4: "a man rides a bicycle"}
    found, kept = _guard(tmp_path, texts, duplicates=DROP)
    assert found["duplicates"] == {2: f'nearly the same text: caption 1, "{LONG}", Jaccard 0.93'}
    assert kept == [1, 3, 4]
    found, kept = _guard(tmp_path, texts, duplicates=DROP, ngram=1, min_jaccard=0.6)
    assert kept == [1, 3]


def test_a_caption_is_compared_with_those_that_stay(tmp_path: Path) -> None:
    """2 is near 1, 3 is near 2 and not near 1: 3 stays, since 2 does not."""
    texts = {1: "a b c d e f g h i", 2: "b c d e f g h i j", 3: "c d e f g h i j k"}
    found, kept = _guard(tmp_path, texts | {4: "B c d e f g h i j!"}, duplicates=DROP, min_jaccard=0.7)
    assert set(found["duplicates"]) == {2, 4}
    assert "caption 1," in found["duplicates"][4]  # not the caption 2 with its words, which is dropped
    assert kept == [1, 3]


def test_captions_with_fewer_words_than_an_ngram_repeat_only_the_same_words(tmp_path: Path) -> None:
    texts = {1: "dog", 2: "Dog.", 3: "cat", 4: "a dog", 5: "...", 6: "?", 7: "..."}
    found, _ = _guard(tmp_path, texts, duplicates=REPORT, ngram=3, min_jaccard=0.5)
    assert found["duplicates"] == {2: "same text: caption 1", 7: "same text: caption 5"}


def test_report_keeps_all_and_off_has_no_stage(tmp_path: Path) -> None:
    texts = {1: "a dog", 2: "a dog"}
    assert _guard(tmp_path, texts, duplicates=REPORT) == ({"duplicates": {2: "same text: caption 1"}}, [1, 2])
    assert _guard(tmp_path, texts) == ({}, [1, 2])
    assert _guard(tmp_path, {}, {"val": {}}, duplicates=DROP, references=DROP) == ({}, [])


# --- References -------------------------------------------------------------------------------------------------------


def test_references_are_found_exactly_and_nearly(tmp_path: Path) -> None:
    texts = {1: "A dog on a bed", 2: f"{LONG}s", 3: "two cats on a sofa", 4: "a dog on a bed"}
    references = {"val": {71: "people walking", 72: f"{LONG}."}, "test": {93: "a dog on a bed."}}
    found, kept = _guard(tmp_path, texts, references, references=DROP)
    assert found["references"] == {
        1: "a reference: test, image 9",
        2: f'nearly a reference: val, caption 72, "{LONG}.", Jaccard 0.86',
        4: "a reference: test, image 9",
    }
    assert kept == [3]


def test_a_caption_that_repeats_a_dropped_reference_stays(tmp_path: Path) -> None:
    """The ledger's second step takes in what the first one kept."""
    texts = {1: "b c d e f g h i j", 2: "c d e f g h i j k", 3: "c d e f g h i j k"}
    settings = {"references": DROP, "duplicates": DROP, "min_jaccard": 0.7}
    found, kept = _guard(tmp_path, texts, {"val": {8: "a b c d e f g h i"}}, **settings)
    assert found == {"references": {1: found["references"][1]}, "duplicates": {3: "same text: caption 2"}}
    assert kept == [2]
    rows = tables.read(tmp_path / "guard.parquet", tables.LEDGER).to_pylist()
    assert [row["item_id"] for row in rows if row["stage"] == "duplicates"] == ["2", "3"]


def test_the_nearest_reference_is_named_the_first_of_equals(tmp_path: Path) -> None:
    texts = {1: "a b c d e f g h"}
    references = {"val": {5: "a b c d e f g"}, "test": {3: "a b c d e f g h i j", 4: "b c d e f g h"}}
    found, _ = _guard(tmp_path, texts, references, references=REPORT, min_jaccard=0.7)
    assert found["references"][1].startswith("nearly a reference: val, caption 5,")


def test_the_number_of_shards_changes_nothing(tmp_path: Path) -> None:
    texts = {number: f"{number % 7} {number % 3} dogs play ball on the wide beach at noon" for number in range(1, 90)}
    settings = {"references": REPORT, "duplicates": DROP, "min_jaccard": 0.6}
    references = {"val": {1: "5 2 dogs play on the wide beach at noon"}}
    one, five = (_guard(tmp_path / f"{n}", texts, references, shards=n, **settings) for n in (1, 5))
    assert one == five
    assert len(one[0]["references"]) == 5
    parts = [len(part) for part in tables.parts(tmp_path / "5/kept.parquet", tables.CAPTIONS)]
    assert len(parts) == 5 and sum(parts) == len(five[1])


# --- Vectors ----------------------------------------------------------------------------------------------------------

VECTORS = {1: [1.0, 0.0], 2: [1.0, 0.1], 3: [0.0, 1.0]}


def _by_vectors(folder: Path, about: str = "clip") -> Found:
    """Three captions that share no word with the references; the vectors of 1 and 2 are near one of test."""
    captions = _captions(folder / "all.parquet", {1: "dog", 2: "puppy", 3: "car"}, shards=2)
    shards = [
        _embeddings(folder / f"{name}.parquet", {n: VECTORS[n] for n in VECTORS if shard_of(n, 2) == shard})
        for shard, name in enumerate(shard_names(2))
    ]
    splits = {"val": {4: "ship"}, "test": {4: "hound", 5: "hounds"}, "empty": {}}
    vectors = {"val": {4: [-1.0, 0.0]}, "test": {5: [1.0, 0.0], 4: [1.0, 0.0]}, "empty": {}}
    references = [
        ReferenceTables(
            split,
            _captions(folder / f"{split}.parquet", texts),
            _embeddings(folder / f"vectors/{split}.parquet", vectors[split], about if split == "test" else "clip"),
        )
        for split, texts in splits.items()
    ]
    config = GuardConfig(references="drop", min_cosine=0.99)
    guard_captions(captions, shards, references, config, folder / "guard.parquet")
    rows = tables.read(folder / "guard.parquet", tables.LEDGER).to_pylist()
    return {int(row["item_id"]): row["reason"] for row in rows if not row["kept"]}


def test_a_caption_with_a_references_vector_is_nearly_one(tmp_path: Path) -> None:
    found = _by_vectors(tmp_path)
    assert found == {
        1: 'nearly a reference: test, caption 5, "hounds", cosine 1.000',
        2: 'nearly a reference: test, caption 5, "hounds", cosine 0.995',
    }


def test_vectors_of_another_encoder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"vectors/test\.parquet: its vectors are of another encoder than those of"):
        _by_vectors(tmp_path, about="another")


def test_dropped_captions_are_in_no_group(tmp_path: Path) -> None:
    angles = {number: [float(np.cos(number)), float(np.sin(number))] for number in range(1, 9)}
    shards = [
        _embeddings(tmp_path / f"{shard}.parquet", {n: each for n, each in angles.items() if n % 2 == shard})
        for shard in range(2)
    ]
    kept = _captions(tmp_path / "kept.parquet", dict.fromkeys((1, 4, 5, 7, 8), "a dog"), shards=2)
    whole, neighbors = tmp_path / "all.parquet", [tmp_path / f"neighbors{shard}.parquet" for shard in range(2)]
    gather_embeddings(shards, whole, kept)
    for shard, path in zip(shards, neighbors, strict=True):
        find_neighbors([shard], [whole], path, k=3)
    form_groups(neighbors, tmp_path / "groups.parquet", 2, tmp_path / "times.parquet")
    groups = tables.read(tmp_path / "groups.parquet", tables.GROUPS)
    assert set(groups["caption_ids"].combine_chunks().flatten().to_pylist()) == {1, 4, 5, 7, 8}
    times = tables.read(tmp_path / "times.parquet", tables.GROUP_TIMES)
    assert sorted(times["caption_id"].to_pylist()) == [1, 4, 5, 7, 8]


# --- Real captions ----------------------------------------------------------------------------------------------------


def _shared(name: str, count: int | None = None) -> dict[int, str]:
    rows = pq.read_table(SHARED / name, columns=["caption_id", "caption"]).sort_by("caption_id")[:count]
    return dict(zip(rows["caption_id"].to_pylist(), rows["caption"].to_pylist(), strict=True))


@needs("coco_val2014_captions.parquet")
def test_references_planted_among_real_captions_are_found(tmp_path: Path) -> None:
    """25 as they are, and 25 of ten words or more with one word more at their end, among 20,000 others."""
    texts = _shared("coco_val2014_captions.parquet", 20_000)
    references = _shared("coco_val2017_captions.parquet")
    long = [number for number, text in references.items() if len(text.split()) >= 10][:1000:20]
    planted = {10**9 + number: references[number] for number in long[:25]}
    nearly = {10**9 + number: f"{references[number]} today" for number in long[25:]}
    found, kept = _guard(tmp_path, texts | planted | nearly, {"val": references}, references=DROP)
    reasons = found["references"]
    assert {reasons[number].partition(":")[0] for number in planted} == {"a reference"}
    assert {reasons[number].partition(":")[0] for number in nearly} <= {"a reference", "nearly a reference"}
    assert not set(kept) & {*planted, *nearly}
    assert len(kept) + len(reasons) == 20_050


@needs("coco_val2014_captions.parquet")
def test_real_captions_repeat_each_other(tmp_path: Path) -> None:
    found, _ = _guard(tmp_path, _shared("coco_val2014_captions.parquet", 20_000), duplicates=REPORT)
    kinds = [reason.partition(":")[0] for reason in found["duplicates"].values()]
    assert (kinds.count("same text"), kinds.count("nearly the same text")) == (155, 29)
