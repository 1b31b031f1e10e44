"""What the scores of images and captions do to an arm's pairs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from icsd.config import AlignmentConfig
from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import item_seed
from icsd.stages.dataset.alignment import weights
from icsd.stages.dataset.building import DrawnTables, build_dataset

# image -> its captions and their scores; multi-1 and multi-1_1 are candidates of one sentence
SCORES = {
    "multi-1": {1: 0.5, 2: 0.1},
    "multi-1_1": {1: 0.4, 2: 0.4},
    "multi-2": {2: 0.3, 3: 0.6},
    "multi-3": {3: 0.2},
}
SENTENCES = {"multi-1": 0.5, "multi-1_1": 0.45, "multi-2": 0.6, "multi-3": 0.1}
Build = Callable[..., tuple[dict[tuple[str, int], float | None], dict[tuple[str, str], str | None]]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build the dataset with these settings; return the weight of each pair, and the ledger from `safety` on."""

    def made(
        candidates: bool = False,
        arm: str = "multi",
        unsafe: tuple[str, ...] = (),
        matches: list[tuple[str, int, float]] | None = None,
        scores: dict[str, dict[int, float]] = SCORES,
        **settings: Any,
    ) -> tuple[dict[tuple[str, int], float | None], dict[tuple[str, str], str | None]]:
        images = [image_id for image_id in SCORES if candidates or "_" not in image_id]
        paths = _tables(tmp_path, images, scores, unsafe, matches)
        pairs, ledger = tmp_path / "pairs.parquet", tmp_path / "ledger.parquet"
        build_dataset(arm, paths, pairs, ledger, 0.9, AlignmentConfig(model="m", **settings))
        rows = tables.read(ledger, tables.LEDGER).to_pylist()
        return (
            {
                (row["image_id"], row["caption_id"]): row["weight"]
                for row in tables.read(pairs, tables.PAIRS).to_pylist()
            },
            {
                (row["stage"], row["item_id"]): row["reason"]
                for row in rows
                if row["stage"] not in ("summaries", "images", "safety")
            },
        )

    return made


def _tables(
    folder: Path,
    images: list[str],
    scores: dict[str, dict[int, float]],
    unsafe: tuple[str, ...],
    matches: list[tuple[str, int, float]] | None,
) -> DrawnTables:
    numbers = {image_id: int(image_id[6]) for image_id in images}
    summary = {"prompt_tokens": None, "completion_tokens": None, "model": "merge", "prompt_hash": "a"}
    summaries = [
        {**summary, "group_id": number, "summary": "s", "selected": [], "status": "ok", "reason": None}
        for number in sorted(set(numbers.values()))
    ]
    captions = [{"caption_id": i, "image_id": i, "caption": f"caption {i}", "split": "train"} for i in range(1, 5)]
    rows: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for image_id in images:
        row = {"image_id": image_id, "arm": "multi", "sentence": "s", "group_id": numbers[image_id], "seed": 0}
        rows["_" in image_id].append(row | {"caption_ids": list(SCORES[image_id]), "prompt_hash": None})
    image = {"image": {"bytes": b"", "path": ""}, "sentence": "s", "seed": 0, "model": "m"}
    checks = [
        {"image_id": each, "score": 1.0 if each in unsafe else -1.0, "verdict": "unsafe" if each in unsafe else "safe"}
        for each in images
    ]
    aligned = [(each, caption, score) for each in images for caption, score in scores.get(each, {}).items()]
    aligned += [(each, None, SENTENCES[each]) for each in images]
    return DrawnTables(
        _write(folder / "captions.parquet", tables.CAPTIONS, captions),
        [_write(folder / "summaries.parquet", tables.SUMMARIES, summaries)],
        [
            _write(folder / f"sentences-{number}.parquet", tables.SENTENCES, each)
            for number, each in enumerate(rows.values())
            if each
        ],
        [_write(folder / "images.parquet", tables.IMAGES, [{"image_id": each, **image} for each in images])],
        [_write(folder / "safety.parquet", tables.SAFETY, checks)],
        [_write(folder / "alignment.parquet", tables.ALIGNMENT, _scored(aligned))],
        [_write(folder / "matches.parquet", tables.ALIGNMENT, _scored(matches or []))],
    )


def _scored(rows: list[tuple[str, int | None, float]]) -> list[dict[str, Any]]:
    return [{"image_id": image_id, "caption_id": caption, "score": score} for image_id, caption, score in rows]


def _write(path: Path, table: tables.Table, rows: list[dict[str, Any]]) -> Path:
    tables.write(path, table, rows)
    return path


ALL = {("multi-1", 1), ("multi-1", 2), ("multi-2", 2), ("multi-2", 3), ("multi-3", 3)}


def test_scores_alone_drop_nothing(build: Build) -> None:
    pairs, ledger = build()
    assert pairs == dict.fromkeys(ALL)
    assert not ledger


def test_a_pair_below_the_lowest_score_is_dropped_with_its_score(build: Build) -> None:
    pairs, ledger = build(min_score=0.25)
    assert set(pairs) == ALL - {("multi-1", 2), ("multi-3", 3)}
    assert ledger["pairs", "multi-1/2"] == "below alignment.min_score=0.25: its score is 0.100"
    assert ledger["pairs", "multi-1/1"] is None


def test_a_score_at_the_line_is_kept(build: Build) -> None:
    assert ("multi-3", 3) in build(min_score=0.2 - 1e-6)[0]


def test_a_limit_holds_for_what_the_table_rounds_to_float32(build: Build) -> None:
    scores = SCORES | {"multi-3": {3: 0.47}}
    assert ("multi-3", 3) in build(min_score=0.47, scores=scores)[0]


@pytest.mark.parametrize(("share", "dropped"), [(0.0, 0), (0.19, 0), (0.2, 1), (0.4, 2), (0.99, 4)])
def test_the_lowest_share_of_the_arm_is_dropped(build: Build, share: float, dropped: int) -> None:
    lowest = [("multi-1", 2), ("multi-3", 3), ("multi-2", 2), ("multi-1", 1), ("multi-2", 3)]
    pairs, _ = build(drop_share=share, weight_temperature=1.0)
    assert set(pairs) == set(lowest[dropped:])


def test_equal_scores_are_dropped_by_a_hash_of_the_pair(build: Build) -> None:
    equal = {image_id: dict.fromkeys(captions, 0.5) for image_id, captions in SCORES.items()}
    pairs, ledger = build(drop_share=0.4, scores=equal)
    order = sorted(ALL, key=lambda pair: item_seed(f"{pair[0]}/{pair[1]}", 0))
    assert set(pairs) == set(order[2:])
    reason = "among the lowest 0.4 of the arm's scores (alignment.drop_share): its score is 0.500"
    assert ledger["pairs", "{}/{}".format(*order[0])] == reason


def test_a_pair_far_below_the_best_of_its_image_is_dropped(build: Build) -> None:
    pairs, ledger = build(max_below_best=0.35)
    assert set(pairs) == ALL - {("multi-1", 2)}
    reason = "more than alignment.max_below_best=0.35 below the best of its image: its score is 0.100, 0.150 is needed"
    assert ledger["pairs", "multi-1/2"] == reason


def test_an_image_that_does_not_show_its_sentence_loses_all_pairs(build: Build) -> None:
    pairs, ledger = build(min_sentence_score=0.3)
    assert set(pairs) == ALL - {("multi-3", 3)}
    reason = "below alignment.min_sentence_score=0.3: its sentence's score is 0.100"
    assert ledger["alignment", "multi-3"] == reason
    assert ("pairs", "multi-3/3") not in ledger


def test_the_candidate_that_shows_its_captions_best_is_used(build: Build) -> None:
    pairs, ledger = build(candidates=True)
    assert set(pairs) == ALL - {("multi-1", 1), ("multi-1", 2)} | {("multi-1_1", 1), ("multi-1_1", 2)}
    reason = "another candidate is used: its captions' mean is 0.300, multi-1_1 has 0.400"
    assert ledger["candidates", "multi-1"] == reason


def test_an_unsafe_candidate_is_not_used(build: Build) -> None:
    assert set(build(candidates=True, unsafe=("multi-1_1",))[0]) == ALL


def test_of_equal_candidates_the_first_is_used(build: Build) -> None:
    assert set(build(candidates=True, scores=SCORES | {"multi-1_1": {1: 0.3, 2: 0.3}})[0]) == ALL


def test_a_caption_without_a_pair_gets_the_nearest_used_image(build: Build) -> None:
    near = [("multi-1_1", 2, 0.9), ("multi-1", 2, 0.7), ("multi-3", 2, 0.6), ("multi-3", 1, 0.9), ("multi-1", 3, 0.2)]
    pairs, ledger = build(min_score=0.45, rematch=3, matches=near)
    # caption 1 has a pair; 2 gets multi-3, as multi-1_1 is not used and multi-1 its own; 3 has one
    assert set(pairs) == {("multi-1", 1), ("multi-2", 3), ("multi-3", 2)}
    assert ledger["rematch", "caption 2"] is None
    assert ("rematch", "caption 3") not in ledger


def test_no_pair_is_made_below_the_line(build: Build) -> None:
    pairs, ledger = build(min_score=0.45, rematch=1, matches=[("multi-3", 2, 0.4)])
    assert ("multi-3", 2) not in pairs
    assert ledger["rematch", "caption 2"] == "no other image shows it: the best scores 0.400, not above 0.450"


def test_a_caption_of_an_image_that_does_not_show_its_sentence_gets_another(build: Build) -> None:
    pairs, ledger = build(min_sentence_score=0.55, rematch=2, matches=[("multi-2", 1, 0.51), ("multi-2", 4, 0.9)])
    assert set(pairs) == {("multi-2", 2), ("multi-2", 3), ("multi-2", 1)}
    assert ledger["rematch", "caption 1"] is None


def test_no_pair_is_made_that_shows_a_caption_less_than_its_own_image(build: Build) -> None:
    pairs, ledger = build(min_sentence_score=0.55, rematch=2, matches=[("multi-2", 1, 0.49)])
    assert ("multi-2", 1) not in pairs
    assert ledger["rematch", "caption 1"] == "no other image shows it: the best scores 0.490, not above 0.500"


def test_no_pair_is_made_far_below_the_best_of_its_new_image(build: Build) -> None:
    scores = SCORES | {"multi-1": {1: 0.9, 2: 0.1}, "multi-2": {2: 0.05, 3: 0.6}}
    pairs, _ = build(max_below_best=0.1, rematch=3, matches=[("multi-1", 2, 0.2), ("multi-3", 2, 0.05)], scores=scores)
    assert not {pair for pair in pairs if pair[1] == 2}


def test_an_arm_of_one_caption_keeps_one_caption_an_image(build: Build) -> None:
    near = [("multi-2", 1, 0.9), ("multi-3", 1, 0.2)]
    pairs, ledger = build(arm="multi_head", min_sentence_score=0.55, rematch=2, matches=near)
    assert [image_id for image_id, _ in pairs] == ["multi-2"]
    assert ledger["rematch", "caption 1"] == "no other image shows it: multi-2 has its captions"


def test_the_line_of_a_share_holds_for_new_pairs(build: Build) -> None:
    near = [("multi-2", 1, 0.25), ("multi-1", 3, 0.25)]
    pairs, _ = build(drop_share=0.6, rematch=1, matches=near)  # the line is 0.3, and caption 2 is left without a pair
    assert set(pairs) == {("multi-1", 1), ("multi-2", 3)}


def test_weights_have_a_mean_of_one_and_grow_with_the_score(build: Build) -> None:
    pairs, _ = build(weight_temperature=0.1)
    assert sum(pairs.values()) / len(pairs) == pytest.approx(1, abs=1e-5)  # type: ignore[arg-type]
    assert pairs["multi-2", 3] / pairs["multi-1", 1] == pytest.approx(2.71828, rel=1e-4)  # type: ignore[operator]
    assert weights([0.1, 900.0], 0.001).tolist() == [0.0, 2.0]


def test_scores_that_drop_all_pairs_are_named_with_weights_too(build: Build) -> None:
    with pytest.raises(InputError, match=r"multi has no pair: .*pairs: 0 of 5 kept"):
        build(min_score=0.99, weight_temperature=0.1)


def test_a_pair_without_a_score_is_named(build: Build) -> None:
    with pytest.raises(InputError, match=r"multi-2: caption 3 has no score"):
        build(min_score=0.1, scores=SCORES | {"multi-2": {2: 0.5}})
