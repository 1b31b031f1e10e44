from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from icsd.config import AlignmentConfig
from icsd.config.arms import ARMS, Arm
from icsd.core import tables
from icsd.core.errors import InputError, TooManyDroppedError
from icsd.core.ids import drawing_order
from icsd.stages.dataset.building import DrawnTables, build_dataset
from icsd.stages.dataset.real import build_real_dataset
from icsd.stages.dataset.steps import Step

SUMMARY = {"prompt_tokens": None, "completion_tokens": None, "model": "merge", "prompt_hash": "abc"}
# groups 1, 2, 4 and 5 are usable, 1, 2 and 4 are drawn, 4 is unsafe
SUMMARIES = [
    {**SUMMARY, "group_id": i, "summary": "s", "selected": s, "status": "ok", "reason": None}
    for i, s in [(1, [1, 2]), (2, [2, 3]), (4, [4, 5]), (5, [5])]
] + [{**SUMMARY, "group_id": 3, "summary": None, "selected": [], "status": "dropped", "reason": "not JSON"}]
DRAWN = {
    "multi": {1: [1, 2], 2: [2, 3], 4: [4, 5]},
    "single": {1: [1], 2: [2], 3: [3], 5: [5]},
    "single_matched": {i: [i] for i in range(1, 4)},
}
VERDICTS = {1: "safe", 2: "safe", 3: "blank", 4: "unsafe", 5: "safe"}
Make = Callable[..., DrawnTables]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(arm: str, verdicts: dict[int, str] = VERDICTS) -> DrawnTables:
        ids = {f"{arm}-{i}": (i, captions) for i, captions in DRAWN[arm].items()}
        captions = [{"caption_id": i, "image_id": i, "caption": f"caption {i}", "split": "train"} for i in range(1, 7)]
        sentences = [
            {
                "image_id": image_id,
                "arm": arm,
                "sentence": "s",
                "group_id": i if arm == "multi" else None,
                "caption_ids": own,
                "seed": 0,
                "prompt_hash": None,
            }
            for image_id, (i, own) in ids.items()
        ]
        image = {"image": {"bytes": b"", "path": ""}, "sentence": "s", "seed": 0, "model": "m"}
        images = [{"image_id": image_id, **image} for image_id in ids]
        checks = [
            {"image_id": image_id, "score": 0.5 if verdicts[i] == "unsafe" else -0.5, "verdict": verdicts[i]}
            for image_id, (i, _) in ids.items()
        ]
        return DrawnTables(
            _file(tmp_path / "captions.parquet", tables.CAPTIONS, captions),
            _shards(tmp_path / "summaries", tables.SUMMARIES, SUMMARIES),
            [_file(tmp_path / "sentences.parquet", tables.SENTENCES, sentences)],
            _shards(tmp_path / "images", tables.IMAGES, images),
            _shards(tmp_path / "safety", tables.SAFETY, checks),
            balance=_pairs_of_multi(tmp_path / "multi.parquet", 2) if arm == "single" else None,
        )

    return write


def _pairs_of_multi(path: Path, pictures: int) -> Path:
    """Pairs of so many pictures, two each."""
    rows = [{"image_id": f"multi-{i}", "caption_id": i + j, "caption": "c"} for i in range(pictures) for j in range(2)]
    return _file(path, tables.PAIRS, rows)


def _file(path: Path, table: tables.Table, rows: list[dict]) -> Path:
    tables.write(path, table, rows)
    return path


def _shards(folder: Path, table: tables.Table, rows: list[dict]) -> list[Path]:
    """In three shards, the last of them empty."""
    paths = [folder / f"{number}.parquet" for number in range(3)]
    for path, part in zip(paths, [rows[::2], rows[1::2], []], strict=True):
        tables.write(path, table, part)
    return paths


def _build(folder: Path, arm: str, paths: DrawnTables, limit: float = 0.9) -> tuple[list[tuple], list[tuple]]:
    build_dataset(arm, paths, folder / "pairs.parquet", folder / "ledger.parquet", limit, AlignmentConfig())
    return _read(folder)


def _read(folder: Path) -> tuple[list[tuple], list[tuple]]:
    pairs = tables.read(folder / "pairs.parquet", tables.PAIRS).to_pylist()
    ledger = tables.read(folder / "ledger.parquet", tables.LEDGER).to_pylist()
    assert all(row["caption"] == f"caption {row['caption_id']}" for row in pairs)
    assert all(row["kept"] == (row["reason"] is None) for row in ledger)
    return [(r["image_id"], r["caption_id"]) for r in pairs], [(r["stage"], r["item_id"], r["reason"]) for r in ledger]


def test_multi_pairs_each_safe_picture_with_its_selected_captions(tmp_path: Path, make: Make) -> None:
    pairs, ledger = _build(tmp_path, "multi", make("multi"))
    assert pairs == [("multi-1", 1), ("multi-1", 2), ("multi-2", 2), ("multi-2", 3)]
    assert ledger == [
        ("summaries", "1", None),
        ("summaries", "2", None),
        ("summaries", "3", "not JSON"),
        ("summaries", "4", None),
        ("summaries", "5", None),
        ("images", "multi-1", None),
        ("images", "multi-2", None),
        ("images", "multi-4", None),
        ("images", "multi-5", "not among the first 3 of images.max_summaries"),
        ("safety", "multi-1", None),
        ("safety", "multi-2", None),
        ("safety", "multi-4", "unsafe: the safety checker's score is 0.500"),
    ]


def test_multi_head_pairs_the_same_pictures_with_the_head_only(tmp_path: Path, make: Make) -> None:
    pairs, ledger = _build(tmp_path / "head", "multi_head", make("multi"))
    assert pairs == [("multi-1", 1), ("multi-2", 2)]
    assert ledger == _build(tmp_path / "multi", "multi", make("multi"))[1]


def test_neighbors_needs_no_summaries(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DRAWN, "neighbors", DRAWN["multi"])
    rows = [{"group_id": i, "caption_ids": [i], "similarities": [1.0]} for i in (5, 4, 2, 1)]
    groups = _file(tmp_path / "groups.parquet", tables.GROUPS, rows)
    pairs, ledger = _build(tmp_path, "neighbors", replace(make("neighbors"), summaries=[], groups=groups))
    assert pairs == [("neighbors-1", 1), ("neighbors-1", 2), ("neighbors-2", 2), ("neighbors-2", 3)]
    assert ledger[:4] == [
        ("images", "neighbors-1", None),
        ("images", "neighbors-2", None),
        ("images", "neighbors-4", None),
        ("images", "neighbors-5", "not among the first 3 of images.max_summaries"),
    ]


def test_an_added_arm_pairs_the_pictures_and_captions_that_its_entry_names(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARMS, "multi_two", Arm("multi_two", "Multi's pictures.", pictures="multi", captions=2))
    monkeypatch.setitem(ARMS, "matched", Arm("matched", "Few pictures.", sentences="pairs", balanced=True))
    monkeypatch.setitem(DRAWN, "matched", DRAWN["single_matched"])
    pairs, ledger = _build(tmp_path / "two", "multi_two", make("multi"))
    assert pairs == [("multi-1", 1), ("multi-1", 2), ("multi-2", 2), ("multi-2", 3)]
    assert ledger == _build(tmp_path / "multi", "multi", make("multi"))[1]
    paths = replace(make("matched"), balance=_pairs_of_multi(tmp_path / "pairs-of-multi.parquet", 1))
    pairs, ledger = _build(tmp_path / "matched", "matched", paths)
    first, second = sorted((1, 2), key=drawing_order)
    assert pairs == [(f"matched-{first}", first)]
    assert ("balance", f"matched-{second}", "not among the first 1 safe ones, as many as multi has") in ledger


def test_single_pairs_as_many_pictures_as_multi_with_their_captions(tmp_path: Path, make: Make) -> None:
    pairs, ledger = _build(tmp_path, "single", make("single"))
    first, second, third = sorted((1, 2, 5), key=drawing_order)
    assert sorted(pairs) == sorted((f"single-{i}", i) for i in (first, second))
    reason = "not among the first 4: as many as multi draws, and images.spare more"
    assert ("images", "single-6", reason) in ledger
    assert ("safety", "single-3", "blank") in ledger
    assert ("balance", f"single-{third}", "not among the first 2 safe ones, as many as multi has") in ledger
    assert len(ledger) == 6 + 4 + 3


def test_fewer_safe_pictures_than_multi_has_are_one_message(tmp_path: Path, make: Make) -> None:
    paths = replace(make("single"), balance=_pairs_of_multi(tmp_path / "more.parquet", 4))
    with pytest.raises(InputError, match=r"single: 3 safe pictures are fewer than the 4 that multi has.*images\.spare"):
        _build(tmp_path / "out", "single", paths)
    assert not list((tmp_path).glob("out/*"))


def test_where_scores_drop_pairs_as_many_pictures_are_kept_as_multi_had_before(tmp_path: Path, make: Make) -> None:
    paths = make("single")
    kept = [("safety", "multi-1"), ("safety", "multi-2"), ("candidates", "multi-1"), ("alignment", "multi-1")]
    rows = [{"stage": stage, "item_id": item, "kept": True, "reason": None} for stage, item in kept]
    scores = [
        {"image_id": f"single-{i}", "caption_id": caption, "score": 0.5}
        for i in DRAWN["single"]
        for caption in (i, None)
    ]
    paths = replace(
        paths,
        balance=_file(tmp_path / "ledger-of-multi.parquet", tables.LEDGER, rows),
        alignment=[_file(tmp_path / "alignment.parquet", tables.ALIGNMENT, scores)],
    )
    settings = AlignmentConfig(model="m", min_score=0.1)
    build_dataset("single", paths, tmp_path / "pairs.parquet", tmp_path / "ledger.parquet", 0.9, settings)
    assert len(_read(tmp_path)[0]) == 1


def test_single_matched_tells_what_multi_has_no_pair_of(tmp_path: Path, make: Make) -> None:
    pairs, ledger = _build(tmp_path, "single_matched", make("single_matched"))
    assert pairs == [(f"single_matched-{i}", i) for i in (1, 2)]
    assert ("images", "single_matched-6", "in no pair of multi") in ledger


@pytest.mark.parametrize("arm", ["multi", "single", "single_matched"])
def test_each_stage_is_entered_by_what_the_one_before_kept(tmp_path: Path, make: Make, arm: str) -> None:
    pairs, ledger = _build(tmp_path, arm, make(arm))
    stages = list(dict.fromkeys(stage for stage, _, _ in ledger))
    entered = {s: [item.split("-")[-1] for stage, item, _ in ledger if stage == s] for s in stages}
    kept = {s: [i.split("-")[-1] for stage, i, reason in ledger if stage == s and not reason] for s in stages}
    assert all(entered[after] == kept[before] for before, after in pairwise(stages))
    assert kept[stages[-1]] == list(dict.fromkeys(image_id.split("-")[-1] for image_id, _ in pairs))


def test_a_step_that_loses_an_item_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"kept \+ dropped"):
        Step("images", pa.array(["a", "b"]), pa.array(["lost"]))
    with pytest.raises(ValueError, match=r"kept \+ dropped"):
        Step("images", pa.array(["a", "a"]), pa.nulls(2, pa.string()))


def test_no_pairs_at_all_is_one_message(tmp_path: Path, make: Make) -> None:
    paths = make("multi", dict.fromkeys(VERDICTS, "blank"))
    message = r"the arm multi has no pair: summaries: 4 of 5 kept; images: 3 of 4 kept; safety: 0 of 3 kept"
    with pytest.raises(InputError, match=message):
        _build(tmp_path / "out", "multi", paths, limit=1.0)
    assert not list((tmp_path).glob("out/*"))


def test_too_many_dropped_pictures_fail_the_job(tmp_path: Path, make: Make) -> None:
    with pytest.raises(TooManyDroppedError, match=r"1 of 3 pictures.*multi.*dataset\.max_drop_share=0\.3 allows"):
        _build(tmp_path / "out", "multi", make("multi"), limit=0.3)
    assert not list((tmp_path).glob("out/*"))


@pytest.mark.parametrize("table", ["images", "safety", "summaries"])
def test_tables_of_different_runs_are_an_error(tmp_path: Path, make: Make, table: str) -> None:
    paths = make("multi")
    without = replace(paths, **{table: getattr(paths, table)[1:]})
    with pytest.raises(InputError, match=r"multi-\d.*images are in only one of"):
        _build(tmp_path / "out", "multi", without)


def test_a_caption_that_is_not_there_is_named(tmp_path: Path, make: Make) -> None:
    paths = make("multi")
    tables.write(paths.captions, tables.CAPTIONS, tables.read(paths.captions, tables.CAPTIONS)[1:])
    with pytest.raises(InputError, match=r"multi-\d.*caption \d is not among the captions"):
        _build(tmp_path / "out", "multi", paths)


def _real(folder: Path, pictures: list[int], described: list[int], broken: Sequence[int] = ()) -> tuple[Path, Path]:
    ledger = [
        {
            "stage": "pictures",
            "item_id": f"real-{i}",
            "kept": i not in broken,
            "reason": "broken" if i in broken else None,
        }
        for i in pictures
    ]
    captions = [
        {"caption_id": n, "image_id": i, "caption": f"caption {n}", "split": "real"} for n, i in enumerate(described)
    ]
    tables.write(folder / "pictures.parquet", tables.LEDGER, ledger)
    tables.write(folder / "captions.parquet", tables.CAPTIONS, captions)
    return folder / "pictures.parquet", folder / "captions.parquet"


def test_real_pairs_each_picture_with_all_its_captions(tmp_path: Path) -> None:
    pictures, captions = _real(tmp_path, [7, 8, 9, 10], [7, 7, 9], broken=[10])
    build_real_dataset(pictures, captions, tmp_path / "pairs.parquet", tmp_path / "ledger.parquet")
    pairs, ledger = _read(tmp_path)
    assert pairs == [("real-7", 0), ("real-7", 1), ("real-9", 2)]
    none = ("pictures", "real-8", "has no caption")
    broken = ("pictures", "real-10", "broken")
    assert ledger == [broken, ("pictures", "real-7", None), none, ("pictures", "real-9", None)]


def test_a_share_of_the_real_pictures_is_part_of_a_larger_one(tmp_path: Path) -> None:
    pictures, captions = _real(tmp_path, [7, 8, 9, 10], [7, 7, 9, 10], broken=[])
    kept = []
    for share in (0.01, 0.34, 0.67):
        build_real_dataset(pictures, captions, tmp_path / "pairs.parquet", tmp_path / "ledger.parquet", share)
        pairs, ledger = _read(tmp_path)
        kept.append({image_id for image_id, _ in pairs})
        reasons = {reason for stage, _, reason in ledger if stage == "share" and reason}
        assert reasons == {f"not among the first {len(kept[-1])} of dataset.real_share={share:g}"}
    assert [len(each) for each in kept] == [1, 1, 2]
    assert kept[0] == kept[1] < kept[2]


def test_real_captions_without_their_picture_are_an_error(tmp_path: Path) -> None:
    pictures, captions = _real(tmp_path, [7], [7, 9])
    with pytest.raises(InputError, match=r"real-9"):
        build_real_dataset(pictures, captions, tmp_path / "pairs.parquet", tmp_path / "ledger.parquet")


def test_no_real_pictures_is_one_message(tmp_path: Path) -> None:
    pictures, captions = _real(tmp_path, [], [])
    with pytest.raises(InputError, match=r"the arm real has no pair"):
        build_real_dataset(pictures, captions, tmp_path / "pairs.parquet", tmp_path / "ledger.parquet")


def test_a_refused_picture_is_dropped_where_it_was_not_drawn(tmp_path: Path, make: Make) -> None:
    """It is no unsafe picture, and does not count as one."""
    paths = make("multi", {**VERDICTS, 4: "missing"})
    for path in paths.images:
        rows = tables.read(path, tables.IMAGES).to_pylist()
        refused = {"image": None, "reason": "refused: moderation_blocked, no"}
        tables.write(path, tables.IMAGES, [row | refused if row["image_id"] == "multi-4" else row for row in rows])
    pairs, ledger = _build(tmp_path, "multi", paths, limit=0.0)
    assert {image_id for image_id, _ in pairs} == {"multi-1", "multi-2"}
    assert ("images", "multi-4", "refused: moderation_blocked, no") in ledger
    assert [item for stage, item, _ in ledger if stage == "safety"] == ["multi-1", "multi-2"]
