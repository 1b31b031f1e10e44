"""Scores by the probe, and other scores beside it, on pairs small enough to check by hand."""

import re
from pathlib import Path

import numpy as np
import pytest

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.picturebook import alignment
from icsd.picturebook.alignment import ProbedPairs, area_under_curve, measure_alignment, score_pairs_by_probe

CAPTIONS = {1: "a red ball", 2: "a red ball and a blue fish", 3: "on the grass", 4: "a star", 5: "a house"}
SEEN = {"multi-1": {("red", "ball"), ("white", "house")}, "single-4": {("yellow", "star")}}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The SENTENCES of two arms and the CAPTIONS; the probe sees SEEN."""
    monkeypatch.setattr(alignment, "detect_in_tables", lambda images, ids, probe: [SEEN[each] for each in ids])
    rows = [{"caption_id": n, "image_id": n, "caption": text, "split": "text"} for n, text in CAPTIONS.items()]
    tables.write(tmp_path / "captions.parquet", tables.CAPTIONS, rows)
    sentences = [
        _sentence("multi-1", "a red ball next to a house", 5, [1, 2, 3]),
        _sentence("single-4", "a star", 4, [4]),
    ]
    for row in sentences:
        tables.write_batches(tmp_path / f"{row['arm']}.parquet", tables.SENTENCES, [[row], []])
    return {name: str(tmp_path / f"{name}.parquet") for name in ("captions", "multi", "single", "scores")}


def _sentence(image_id: str, sentence: str, group_id: int | None, caption_ids: list[int]) -> dict[str, object]:
    return {
        "image_id": image_id, "arm": image_id.split("-")[0], "sentence": sentence, "group_id": group_id,
        "caption_ids": caption_ids, "seed": 0, "prompt_hash": "",
    }  # fmt: skip


def test_the_probes_score_is_the_share_of_a_texts_objects_that_are_seen(world: dict[str, str]) -> None:
    score_pairs_by_probe(world["multi"], "images", world["captions"], "probe", world["scores"], "0000-of-0002")
    rows = tables.read(world["scores"], tables.ALIGNMENT).to_pylist()
    assert {(row["image_id"], row["caption_id"]): row["score"] for row in rows} == {
        ("multi-1", None): 1, ("multi-1", 5): 1, ("multi-1", 1): 1, ("multi-1", 2): 0.5, ("multi-1", 3): 1,
    }  # fmt: skip


def test_an_empty_shard_has_no_scores(world: dict[str, str]) -> None:
    score_pairs_by_probe(world["multi"], "images", world["captions"], "probe", world["scores"], "0001-of-0002")
    assert len(tables.read(world["scores"], tables.ALIGNMENT)) == 0


@pytest.mark.parametrize(
    ("scores", "true", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], 1.0),
        ([0.4, 0.3, 0.2, 0.1], [0, 0, 1, 1], 0.0),
        ([0.1, 0.3, 0.2, 0.4], [0, 0, 1, 1], 0.75),
        ([0.5, 0.5, 0.5], [0, 1, 1], 0.5),
        ([0.5, 0.5, 0.9], [0, 1, 1], 0.75),  # one of two pairs is a tie
    ],
)
def test_auc_by_hand(scores: list[float], true: list[int], expected: float) -> None:
    assert area_under_curve(np.array(scores), np.array(true, dtype=bool)) == expected


def test_auc_agrees_with_counting_all_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, true = rng.integers(0, 10, 200) / 10, rng.random(200) < 0.7
    above = np.sign(scores[true][:, None] - scores[~true][None, :])
    assert area_under_curve(scores, true) == pytest.approx((above + 1).mean() / 2)


def test_auc_of_true_pairs_alone_is_not_known() -> None:
    assert np.isnan(area_under_curve(np.array([0.1, 0.2]), np.array([True, True])))
    assert np.isnan(area_under_curve(np.array([]), np.array([], dtype=bool)))


def test_the_lowest_share_is_dropped_even_if_scores_are_equal() -> None:
    pairs = ProbedPairs(
        np.array(["a", "b", "c", "d", "e"]), np.array([0.5, 0.5, 0.5, 0.9, 0.5]), np.ones(5, dtype=bool)
    )
    assert pairs.without_lowest(0.4).images.tolist() == ["c", "e", "d"]
    assert len(pairs.without_lowest(0.0).images) == 5


def test_scores_are_measured_by_arm_on_captions_and_on_sentences(world: dict[str, str], tmp_path: Path) -> None:
    scores = {("multi-1", None): 0.9, ("multi-1", 1): 0.8, ("multi-1", 2): 0.1, ("multi-1", 3): 0.5}
    scores |= {("multi-1", 5): 0.0, ("single-4", None): 0.4, ("single-4", 4): 0.4}  # 5 is no pair of the arm
    _write_scores(world["scores"], scores)
    files = [str(tmp_path / f"measured.{ending}") for ending in ("parquet", "md")]
    sentences = [world["multi"], world["single"]]
    measure_alignment([world["scores"]], sentences, [], world["captions"], "probe", "cosine", *files)
    rows = tables.read(files[0], tables.QUALITY).to_pylist()
    found = {(row["model"], row["measure"]): (row["value"], row["items"]) for row in rows}
    assert found["multi", "true captions"] == (pytest.approx(2 / 3), 3)
    assert found["multi", "AUC of captions"] == (1, 3)
    assert found["single", "true sentences"] == (1, 1) and np.isnan(found["single", "AUC of sentences"][0])
    text = Path(files[1]).read_text(encoding="utf-8")
    assert "text: cosine." in text
    assert re.search(r"\| multi +\| captions +\| +3 \| +66.7 \| +1.000 \|", text)
    assert re.search(r"\| multi +\| +40% \| +0.500 \| +100.0 \| +2 \| +1 \|", text)
    assert re.search(r"\| multi +\| +0% \| +– \| +66.7 \| +3 \| +1 \|", text)


def test_a_pair_without_a_score_is_one_message(world: dict[str, str], tmp_path: Path) -> None:
    _write_scores(world["scores"], {("multi-1", None): 0.9, ("multi-1", 1): 0.8, ("multi-1", 3): 0.8})
    with pytest.raises(InputError, match=r"multi-1.*caption 2 has no score"):
        measure_alignment([world["scores"]], [world["multi"]], [], world["captions"], "probe", "cosine", "t", "p")


def _write_scores(path: str, scores: dict[tuple[str, int | None], float]) -> None:
    rows = [{"image_id": image, "caption_id": caption, "score": score} for (image, caption), score in scores.items()]
    tables.write(path, tables.ALIGNMENT, rows)
