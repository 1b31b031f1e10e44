"""The page that compares runs, on tables small enough to check by hand."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.picturebook.claim import PictureCounts
from icsd.picturebook.comparison import MeasuredRun, best_setting, claim_page, read_run, score_runs

MEASURES = {
    "pictures drawn": 600.0, "pictures kept": 500.0, "pairs": 4000.0, "CIDEr + BLEU-4 on val": 2.0, "of them seen": 0.9,
}  # fmt: skip
AREAS = {"true captions": 0.8, "AUC of captions": 0.843, "AUC of sentences": 0.79}
TEST = {"objects named": 1.5, "of them seen": 0.98}
PICTURES = ["real-0", "real-1"]


def _run(seeds: int = 2, pictures: list[str] = PICTURES, on_val: float = 2.0, **cider: float) -> MeasuredRun:
    """A run of the arms in `cider`, whose captioners have that CIDEr on each picture."""
    counts = {
        (arm, seed): PictureCounts(np.full(2, value), np.ones((2, 10)), np.array([[2.0, 1.0], [1.0, 1.0]]))
        for arm, value in cider.items()
        for seed in range(seeds)
    }
    return MeasuredRun(pictures, counts, {arm: MEASURES | {"CIDEr + BLEU-4 on val": on_val} for arm in cider}, TEST)


def _row(page: str, *cells: str) -> bool:
    return re.search(r"\| *" + r" *\| *".join(re.escape(cell) for cell in cells) + r" *\|", page) is not None


def test_the_page_has_each_side_and_each_difference() -> None:
    runs = {("base", 1): _run(multi=1.5, single=1.4), ("base", 2): _run(multi=1.7, single=1.3)}
    questions = {"Many contexts or one": [(("base", "multi"), ("base", "single"))]}
    page = claim_page(score_runs(runs, samples=200), questions)
    assert _row(page, "base", "multi", "2", "4", "600", "500", "4,000", "90.0", "160.0 (150.0 to 170.0)")
    assert _row(page, "1.50", "66.7", "3.8")  # objects named, of them true, drawn a point: 600 / 160
    assert "Many contexts or one:\n\n| difference" in page
    assert _row(
        page, "base: multi − single", "2", "600 / 600", "+25.0 (+10.0 to +40.0)", "+10.0, +40.0", "-165.6 to +215.6"
    )
    assert "name 1.50 objects, 98.0% of them true" in page


def test_a_partial_set_says_how_many_drawings_and_trainings_each_row_has() -> None:
    runs = {
        ("base", 1): _run(multi=1.5),
        ("base", 2): _run(seeds=1, multi=1.7),
        ("filtered", 2): _run(seeds=3, multi=1.8),
    }
    page = claim_page(score_runs(runs, samples=200), {"Changes": [(("filtered", "multi"), ("base", "multi"))]})
    assert _row(page, "base", "multi", "2", "3") and _row(page, "filtered", "multi", "1", "3")
    assert _row(page, "filtered multi − base multi", "1", "600 / 600", "+10.0 (+10.0 to +10.0)", "+10.0", "–")


def test_a_difference_has_the_pictures_that_each_side_drew_in_the_drawings_of_both() -> None:
    def drawn(run: MeasuredRun, **pictures: float) -> MeasuredRun:
        return replace(run, arms={arm: of | {"pictures drawn": pictures[arm]} for arm, of in run.arms.items()})

    runs = {
        ("best4", 1): drawn(_run(multi=1.8), multi=2400),
        ("best4", 2): drawn(_run(multi=1.8), multi=2380),
        ("base", 1): drawn(_run(multi=1.5, single=1.5), multi=600, single=632),
        ("base", 2): drawn(_run(multi=1.5), multi=600),
    }
    asked = [(("best4", "multi"), ("base", arm)) for arm in ("multi", "single")]
    page = claim_page(score_runs(runs, samples=10), {"Changes": asked})
    assert _row(page, "best4 multi − base multi", "2", "2,390 / 600")
    assert _row(page, "best4 multi − base single", "1", "2,400 / 632")


def test_differences_without_results_are_left_out_with_their_heading() -> None:
    runs = {("base", 1): _run(multi=1.5), ("filtered", 2): _run(multi=1.5)}
    asked = [(("filtered", "multi"), ("base", "multi")), (("base", "multi"), ("base", "single"))]
    page = claim_page(score_runs(runs, samples=200), {"Changes": asked})
    assert "Changes" not in page and "| difference" not in page


def test_photographs_cost_no_picture() -> None:
    run = replace(_run(real=1.8), arms={"real": MEASURES | {"pictures drawn": 0.0}})
    page = claim_page(score_runs({("base", 1): run}), {})
    assert _row(page, "base", "real", "1", "2", "0", "500") and _row(page, "66.7", "–")


def test_the_page_has_the_auc_of_each_score_by_drawing() -> None:
    scored = replace(_run(multi=1.8), arms={"multi": MEASURES | AREAS})
    runs = {("base", 1): _run(multi=1.5), ("filtered", 2): scored, ("filtered", 1): scored}
    page = claim_page(score_runs(runs, samples=10), {}, {"cosine": "filtered", "random": "base", "probe": "oracle"})
    assert _row(page, "cosine", "multi", "80.0", "0.843, 0.843", "0.790, 0.790")
    assert "| random" not in page and "| probe" not in page


def test_the_best_setting_is_chosen_on_val_of_those_with_most_drawings() -> None:
    runs = {
        ("base", 1): _run(multi=1.9, on_val=2.0),
        ("base", 2): _run(multi=1.9, on_val=2.0),
        ("filtered", 1): _run(multi=1.1, on_val=2.4),
        ("filtered", 2): _run(multi=1.1, on_val=2.0),
        ("best4", 1): _run(multi=1.9, on_val=9.0),
    }
    results = score_runs(runs, samples=10)
    assert best_setting(results, "multi", ["base", "filtered", "best4"]) == "filtered"
    assert best_setting(results, "multi", ["base"]) == "base"
    assert best_setting(results, "single", ["base", "filtered"]) is None


def test_runs_of_different_test_pictures_are_one_message() -> None:
    runs = {("base", 1): _run(multi=1.5), ("base", 2): _run(pictures=["real-0", "real-9"], multi=1.5)}
    with pytest.raises(InputError, match="drawing 2 of setting base"):
        score_runs(runs)


def test_a_run_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "benchmark/arms").mkdir(parents=True)
    rows = [
        {"arm": arm, "seed": 0, "image_id": image_id, "cider": 1.5, "bleu": [1.0] * 10, "named": 2, "true": 1}
        for arm in ("multi", "single")
        for image_id in PICTURES
    ]
    tables.write(tmp_path / "benchmark/counts.parquet", tables.CAPTION_COUNTS, rows)
    for path, model, measures in (("arms/multi", "multi", MEASURES), ("test", "test", TEST)):
        _write_quality(tmp_path / f"benchmark/{path}.parquet", model, measures)
    run = read_run(tmp_path, ["multi"])
    assert run.pictures == PICTURES and run.arms == {"multi": MEASURES} and run.test == TEST
    assert list(run.counts) == [("multi", 0)] and run.counts["multi", 0].cider.tolist() == [1.5, 1.5]
    _write_quality(tmp_path / "benchmark/alignment.parquet", "multi", AREAS)
    assert read_run(tmp_path, ["multi"]).arms == {"multi": MEASURES | AREAS}
    with pytest.raises(InputError, match="multi_head"):
        read_run(tmp_path, ["multi", "multi_head"])


def _write_quality(path: Path, model: str, measures: dict[str, float]) -> None:
    rows = [{"model": model, "measure": name, "value": value, "items": 1} for name, value in measures.items()]
    tables.write(path, tables.QUALITY, rows)
