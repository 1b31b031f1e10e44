"""Scores of images with their captions: candidates are drawn once, another threshold draws and scores nothing."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from checkout import Checkout

from icsd.core import tables
from icsd.stages.images import image_store

SHARD = "0000-of-0001"
TARGETS = [f"results/tiny/dataset/{arm}/pairs.parquet" for arm in ("multi", "single")]
MATCHED = "results/tiny/dataset/single_matched/pairs.parquet"
TABLES = {
    f"images/multi/candidate-1/{SHARD}": tables.IMAGES,
    "images/multi/candidate-2/sentences": tables.SENTENCES,
    f"alignment/multi/{SHARD}": tables.ALIGNMENT,
    f"alignment/multi/candidate-2/{SHARD}": tables.ALIGNMENT,
    f"alignment/multi/matches/{SHARD}": tables.ALIGNMENT,
    "dataset/multi/pairs": tables.PAIRS,
    "dataset/multi/ledger": tables.LEDGER,
    "dataset/single/pairs": tables.PAIRS,
    "dataset/single/ledger": tables.LEDGER,
}


def _edit(checkout: Checkout, model: Path) -> Checkout:
    checkout.edit("arms", ["multi", "single", "single_matched"])
    scores = tables.read(checkout.results / f"images/multi/{SHARD}.parquet", tables.IMAGES, ["image_id"])
    checkout.edit("images.candidates", 3)
    checkout.edit("images.redraw_below", 2.0)  # of every sentence, up to the ceiling
    checkout.edit("images.max_images", len(scores) + 12)
    checkout.edit("alignment", {"model": str(model), "drop_share": 0.3, "rematch": 4, "weight_temperature": 0.1})
    return checkout


@pytest.fixture(scope="module")
def aligned(whole_run: Checkout, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The whole run's pictures, with candidates and scores. Do not write into it."""
    checkout = _edit(whole_run.copy(tmp_path_factory.mktemp("aligned") / "icsd"), clip_folder)
    checkout.run(*TARGETS, MATCHED)
    return checkout


def _rows(checkout: Checkout, name: str) -> pa.Table:
    return tables.read(checkout.results / f"{name}.parquet", TABLES[name])


def _ledger(checkout: Checkout, arm: str) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for row in _rows(checkout, f"dataset/{arm}/ledger").to_pylist():
        found.setdefault(row["stage"], []).append(row)
    return found


def test_the_best_candidate_of_each_sentence_is_used(aligned: Checkout) -> None:
    ledger = _ledger(aligned, "multi")
    assert sum("_" in row["item_id"] for row in ledger["images"]) == 12  # as many as the ceiling leaves
    kept = [row["item_id"].split("_")[0] for row in ledger["candidates"] if row["kept"]]
    assert len(set(kept)) == len(kept)
    assert {row["item_id"].split("_")[0] for row in ledger["candidates"]} == set(kept)


def test_a_share_of_the_pairs_is_dropped_and_the_rest_is_weighed(aligned: Checkout) -> None:
    pairs, ledger = _rows(aligned, "dataset/multi/pairs").to_pylist(), _ledger(aligned, "multi")
    dropped = [row for row in ledger["pairs"] if not row["kept"]]
    assert len(dropped) == int(0.3 * len(ledger["pairs"])) > 0
    made = sum(row["kept"] for row in ledger["rematch"])
    assert len(pairs) == len(ledger["pairs"]) - len(dropped) + made
    assert sum(row["weight"] for row in pairs) == pytest.approx(len(pairs), rel=1e-3)
    assert len({row["weight"] for row in pairs}) > 5


def test_single_has_as_many_pictures_as_multi_before_any_is_dropped(aligned: Checkout) -> None:
    kept = [sum(row["kept"] for row in rows["candidates"]) for rows in (_ledger(aligned, "multi"),)]
    assert kept == [sum(row["kept"] for row in _ledger(aligned, "single")["balance"])]


@pytest.mark.parametrize(
    ("key", "value"), [("alignment.drop_share", 0.1), ("alignment.min_score", 0.0), ("alignment.max_below_best", 0.2)]
)
def test_another_threshold_draws_and_scores_nothing(aligned: Checkout, tmp_path: Path, key: str, value: float) -> None:
    again = aligned.copy(tmp_path / "icsd")
    assert again.planned(*TARGETS, MATCHED) == {}
    again.edit(key, value)
    assert again.planned(*TARGETS, MATCHED) == {"build_dataset": 3}


def test_single_matched_draws_the_captions_of_multis_pairs_before_any_is_dropped(aligned: Checkout) -> None:
    path = aligned.results / "images/single_matched/sentences.parquet"
    drawn = {caption_id for (caption_id,) in tables.read(path, tables.SENTENCES)["caption_ids"].to_pylist()}
    pairs = _ledger(aligned, "multi")["pairs"]
    assert drawn == {int(row["item_id"].partition("/")[2]) for row in pairs}
    assert drawn > {int(row["item_id"].partition("/")[2]) for row in pairs if row["kept"]}


def test_another_candidate_keeps_the_pictures_and_scores_that_exist(aligned: Checkout, tmp_path: Path) -> None:
    again = aligned.copy(tmp_path / "icsd")
    again.edit("images.candidates", 4)
    assert again.planned(*TARGETS) == {
        "select_candidates": 2, "generate_images": 2, "check_safety": 2, "score_alignment": 2,
        "gather_picture_vectors": 2, "match_captions": 2, "build_dataset": 2,
    }  # fmt: skip


def test_a_run_killed_while_it_draws_candidates_and_scores_ends_in_the_same_tables(
    aligned: Checkout, whole_run: Checkout, clip_folder: Path, tmp_path: Path
) -> None:
    killed = _edit(whole_run.copy(tmp_path / "icsd"), clip_folder)
    killed.edit("images.batch_size", 1)
    store = image_store(killed.folder / "results" / "drawn", "tiny")
    before = store.count()

    def a_candidate_is_drawn() -> bool:
        return store.count() > before

    def a_candidate_is_scored() -> bool:
        return (killed.results / f"alignment/multi/candidate-1/{SHARD}.parquet").exists()

    moments: list[Callable[[], bool]] = [a_candidate_is_drawn, a_candidate_is_scored]
    for moment in moments:
        killed.kill_when(moment, *TARGETS)
        killed.run("--unlock")
    killed.run(*TARGETS, MATCHED)
    for name in TABLES:
        columns = [each for each in TABLES[name].schema.names if each != "image"]
        assert _rows(killed, name).select(columns).equals(_rows(aligned, name).select(columns)), name
    assert store.count() == image_store(aligned.folder / "results" / "drawn", "tiny").count()


def test_scores_to_look_at_train_nothing_again(done: Checkout, clip_folder: Path) -> None:
    done.edit("alignment.model", str(clip_folder))
    planned = done.planned()
    assert planned == {"score_alignment": 3, "write_gallery": 1, "draw_report": 1, "all": 1}
