"""Further candidates of sentences: which are drawn, and with which ids and seeds."""

from pathlib import Path
from typing import Any

import pytest

from icsd.core import tables
from icsd.core.ids import drawing_order, first_candidate_id, image_number, item_seed
from icsd.stages.sentences import Candidates, Drawn, select_candidates

MEANS = {1: 0.3, 2: 0.6, 3: 0.2, 4: 0.5}  # of the captions, in the first candidates


@pytest.fixture
def sentences(tmp_path: Path) -> Path:
    return _sentences(tmp_path / "sentences.parquet", [f"multi-{i}" for i in MEANS])


def _sentences(path: Path, ids: list[str]) -> Path:
    rows = [
        {
            "image_id": each, "arm": "multi", "sentence": f"s{image_number(each)}", "group_id": image_number(each),
            "caption_ids": [1, 2], "seed": item_seed(each, 7), "prompt_hash": "a",
        }
        for each in ids
    ]  # fmt: skip
    tables.write(path, tables.SENTENCES, rows)
    return path


def _alignment(path: Path, means: dict[str, float]) -> Path:
    """Two captions around each mean; a sentence and an anchor that is not selected must not count."""
    rows = [
        {"image_id": each, "caption_id": caption, "score": score}
        for each, mean in means.items()
        for caption, score in ((1, mean - 0.1), (2, mean + 0.1), (None, 0.9), (3, -0.9))
    ]
    tables.write(path, tables.ALIGNMENT, rows)
    return path


def _safety(path: Path, alignment: list[Path], unsafe: str) -> Path:
    ids = sorted({row["image_id"] for each in alignment for row in tables.read(each, tables.ALIGNMENT).to_pylist()})
    rows = [{"image_id": each, "score": 0.0, "verdict": "unsafe" if each == unsafe else "safe"} for each in ids]
    tables.write(path, tables.SAFETY, rows)
    return path


def _selected(
    tmp_path: Path,
    sentences: Path,
    alignment: list[Path],
    which: Candidates,
    earlier: tuple[Path, ...] = (),
    unsafe: str = "",
) -> list[dict[str, Any]]:
    path, safety = tmp_path / "selected.parquet", tmp_path / "safety.parquet"
    drawn = Drawn([sentences, *earlier], alignment, [_safety(safety, alignment, unsafe)])
    select_candidates(drawn, path, 3, 7, which)
    return tables.read(path, tables.SENTENCES).to_pylist()


def test_every_sentence_gets_a_candidate_with_a_seed_of_its_own(tmp_path: Path, sentences: Path) -> None:
    rows = _selected(tmp_path, sentences, [], Candidates(2, None, None))
    assert {row["image_id"] for row in rows} == {f"multi-{i}_2" for i in MEANS}
    assert all(row["seed"] == item_seed(row["image_id"], 7) for row in rows)
    assert {(row["sentence"], row["group_id"]) for row in rows} == {(f"s{i}", i) for i in MEANS}
    assert {(first_candidate_id(row["image_id"]), image_number(row["image_id"])) for row in rows} == {
        (f"multi-{i}", i) for i in MEANS
    }


def test_only_what_falls_short_is_drawn_again(tmp_path: Path, sentences: Path) -> None:
    first = _alignment(tmp_path / "0.parquet", {f"multi-{i}": mean for i, mean in MEANS.items()})
    rows = _selected(tmp_path, sentences, [first], Candidates(1, 0.45, None))
    assert {row["image_id"] for row in rows} == {"multi-1_1", "multi-3_1"}
    second = _alignment(tmp_path / "1.parquet", {"multi-1_1": 0.1, "multi-3_1": 0.5})
    rows = _selected(tmp_path, sentences, [first, second], Candidates(2, 0.45, None))
    assert {row["image_id"] for row in rows} == {"multi-1_2"}


def test_the_lowest_are_drawn_again_where_the_ceiling_is_near(tmp_path: Path, sentences: Path) -> None:
    first = _alignment(tmp_path / "0.parquet", {f"multi-{i}": mean for i, mean in MEANS.items()})
    earlier = (_sentences(tmp_path / "c1.parquet", ["multi-1_1"]),)
    assert [row["image_id"] for row in _selected(tmp_path, sentences, [first], Candidates(2, 0.9, 6), earlier)] == [
        "multi-3_2"
    ]
    assert not _selected(tmp_path, sentences, [first], Candidates(2, 0.9, 3), earlier)


def test_without_scores_the_ceiling_leaves_the_first_to_be_drawn(tmp_path: Path, sentences: Path) -> None:
    rows = _selected(tmp_path, sentences, [], Candidates(1, None, 6))
    first = sorted(MEANS, key=drawing_order)[:2]
    assert {row["image_id"] for row in rows} == {f"multi-{i}_1" for i in first}


def test_a_sentence_without_a_safe_candidate_is_drawn_again_first(tmp_path: Path, sentences: Path) -> None:
    first = _alignment(tmp_path / "0.parquet", {f"multi-{i}": mean for i, mean in MEANS.items()})
    rows = _selected(tmp_path, sentences, [first], Candidates(1, 0.45, 5), unsafe="multi-2")
    assert [row["image_id"] for row in rows] == ["multi-2_1"]  # though it has the best score
