"""The comparison of arms, on numbers small enough to check by hand."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.picturebook import claim
from icsd.picturebook.claim import PictureCounts, ProbedPictures, compare, measure_claim, measure_pairs
from icsd.picturebook.drawing import render
from icsd.picturebook.mentions import count_objects, named_objects
from icsd.picturebook.probe import Probe, detect_objects, load_probe
from icsd.picturebook.splits import split_scenes

REFERENCES = [["a red ball on the grass", "a ball"], ["a blue fish at sea", "a fish and a star"]]
SEEN = [{("red", "ball"), ("white", "house")}, {("blue", "fish"), ("yellow", "star")}]


@pytest.fixture
def test_set(tmp_path: Path) -> ProbedPictures:
    captions = [
        {"caption_id": 10 * image + n, "image_id": image, "caption": text, "split": "test"}
        for image, texts in enumerate(REFERENCES)
        for n, text in enumerate(texts)
    ]
    tables.write(tmp_path / "captions.parquet", tables.CAPTIONS, captions)
    return ProbedPictures(str(tmp_path / "captions.parquet"), ["real-0", "real-1"], REFERENCES, SEEN)


@pytest.mark.parametrize(
    ("caption", "objects"),
    [
        ("a picture of a small red ball next to a cottage", [("red", "ball"), (None, "house")]),
        ("A Mug, a BLUE phantom.", [(None, "cup"), ("blue", "ghost")]),
        ("a red and white boat", [("white", "boat")]),
        ("a red sunset over balls", []),
        ("", []),
    ],
)
def test_named_objects_are_the_worlds_nouns_with_their_colours(
    caption: str, objects: list[tuple[str | None, str]]
) -> None:
    assert named_objects(caption) == objects


@pytest.mark.parametrize(
    ("caption", "named", "true"),
    [
        ("a red ball above a house", 2, 2),
        ("a blue ball above a cup", 2, 0),
        ("a red ball near a red ball", 2, 1),
        ("a red ball near a blue ball", 2, 1),
        ("on the grass", 0, 0),
    ],
)
def test_an_object_is_true_if_it_is_seen_in_the_colour_said(caption: str, named: int, true: int) -> None:
    assert count_objects([caption], SEEN[:1]).tolist() == [[named, true]]


def _counts(cider: list[float], objects: list[list[float]]) -> PictureCounts:
    return PictureCounts(np.array(cider), np.ones((len(cider), 10)), np.array(objects))


def test_scores_of_resamples_by_hand() -> None:
    pictures = _counts([1.0, 3.0], [[2, 1], [1, 1]])
    values = claim.score_resamples(pictures, np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    assert values["CIDEr"].tolist() == [2, 1, 3]
    assert values["objects"].tolist() == [1.5, 2, 1]
    assert values["true objects"] == pytest.approx([2 / 3, 1 / 2, 1])


def test_a_captioner_that_names_nothing_has_no_share(test_set: ProbedPictures) -> None:
    nothing = claim.score_resamples(_counts([1.0, 0.0], [[0, 0], [0, 0]]), claim.resampled(2, samples=10, seed=0))
    assert np.isnan(nothing["true objects"]).all()
    page = claim.claim_page({("multi", 0): nothing, ("multi", 1): nothing}, {"multi": (2, 4)}, {}, test_set)
    assert "nan ± nan" in page


def test_a_constant_gain_on_every_picture_has_an_interval_without_width() -> None:
    counts = claim.resampled(50, samples=100, seed=0)
    cider = np.random.default_rng(1).random(50).tolist()
    values = {
        (arm, seed): claim.score_resamples(_counts([each + gain for each in cider], [[1, 1]] * 50), counts)
        for arm, seed, gain in [("multi", 0, 0.2), ("multi", 1, 0.4), ("single", 0, 0.0), ("single", 1, 0.1)]
    }
    found, by_seed = compare(values, "multi", "single", "CIDEr")
    assert by_seed == pytest.approx([0.2, 0.3])
    assert [found.value, found.low, found.high] == pytest.approx([0.25] * 3)


def test_the_claim_is_a_table_by_the_probe_and_a_page(test_set: ProbedPictures, tmp_path: Path) -> None:
    said = {
        ("multi", 0): ["a red ball on the grass", "a blue fish at sea"],
        ("multi", 1): ["a red ball and a white house", "a yellow fish"],
        ("single", 0): ["a blue ball", "a blue fish"],
        ("single", 1): ["a cup", "a fish"],
    }
    predictions = {run: _write_predictions(tmp_path / f"{run[0]}-{run[1]}.parquet", each) for run, each in said.items()}
    pairs = {arm: str(tmp_path / f"{arm}-pairs.parquet") for arm in ("multi", "single")}
    for arm, path in pairs.items():
        rows = [{"image_id": f"{arm}-{n // 2}", "caption_id": n, "caption": "a ball"} for n in range(6)]
        tables.write(path, tables.PAIRS, rows)
    probed = {arm: _write_measures(tmp_path / f"{arm}-probed.parquet", arm) for arm in pairs}
    table, page = tmp_path / "claim.parquet", tmp_path / "claim.md"
    measure_claim(predictions, pairs, probed, test_set, str(table), str(page), samples=20)
    rows = tables.read(table, tables.SCORES).to_pylist()
    assert {(row["arm"], row["seed"], row["metric"]): row["value"] for row in rows} == {
        ("multi", 0, "objects"): 1, ("multi", 0, "true objects"): 1,
        ("multi", 1, "objects"): 1.5, ("multi", 1, "true objects"): pytest.approx(2 / 3),
        ("single", 0, "objects"): 1, ("single", 0, "true objects"): 0.5,
        ("single", 1, "objects"): 1, ("single", 1, "true objects"): 0.5,
    }  # fmt: skip
    text = page.read_text(encoding="utf-8")
    assert re.search(r"\| multi +\| +3 \| +6 \|.* 1.25 ± 0.35 \| +83.3 ± 23.6 \|", text)
    assert re.search(r"\| single +\| +1.50 \| +75.0 \| +2.50 \| +80.0 \|", text)
    assert "captions name 1.25 objects, 100.0% of them true" in text
    assert "at equal pictures | multi − single |" in text and "multi_head" not in text


def test_a_picture_without_a_caption_is_one_message(test_set: ProbedPictures, tmp_path: Path) -> None:
    predictions = _write_predictions(tmp_path / "predictions.parquet", ["a red ball"])
    with pytest.raises(InputError, match="real-1"):
        measure_claim({("multi", 0): predictions}, {}, {}, test_set, "claim.parquet", "claim.md", samples=20)


def test_the_probe_sees_each_picture_that_has_captions(test_set: ProbedPictures, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(Probe().state_dict(), tmp_path / "model.safetensors")
    files = [_png(render(scene)) for scene in split_scenes("test", 3)]
    rows = [
        {"image_id": f"real-{n}", "image": {"bytes": file, "path": None}, "sentence": "", "seed": 0, "model": ""}
        for n, file in reversed(list(enumerate(files)))
    ]
    tables.write(tmp_path / "images.parquet", tables.IMAGES, rows)
    found = claim.read_probed(str(tmp_path / "images.parquet"), test_set.captions, str(tmp_path))
    pictures = np.stack([render(scene) for scene in split_scenes("test", 2)])
    assert found.ids == test_set.ids and found.references == REFERENCES
    assert found.seen == detect_objects(load_probe(tmp_path), pictures)


def test_training_pairs_are_as_true_as_the_probe_sees_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"a": ["a red ball on the grass", "a blue cottage"], "b": ["a fish and a star"]}
    captions = [(image_id, text) for image_id, texts in said.items() for text in texts]
    rows = [{"image_id": image_id, "caption_id": n, "caption": text} for n, (image_id, text) in enumerate(captions)]
    tables.write(tmp_path / "pairs.parquet", tables.PAIRS, rows)
    seen = {"a": {("red", "ball"), ("white", "house"), ("red", "kite")}, "b": {("blue", "fish")}}
    monkeypatch.setattr(claim, "detect_in_tables", lambda images, ids, probe: [seen[each] for each in ids])
    measure_pairs("multi", str(tmp_path / "pairs.parquet"), [], "probe", str(tmp_path / "measured.parquet"))
    rows = tables.read(tmp_path / "measured.parquet", tables.QUALITY).to_pylist()
    assert {row["measure"]: (row["value"], row["items"]) for row in rows} == {
        "objects named": (pytest.approx(4 / 3), 3),
        "of them seen": (2 / 4, 4),  # the ball and the fish; the cottage is not blue, and there is no star
        "objects seen": (2, 2),
        "of them named": (3 / 4, 4),  # all but the kite
    }


def _write_measures(path: Path, arm: str) -> str:
    values = {"objects named": 1.5, "of them seen": 0.75, "objects seen": 2.5, "of them named": 0.8}
    rows = [{"model": arm, "measure": name, "value": value, "items": 4} for name, value in values.items()]
    tables.write(path, tables.QUALITY, rows)
    return str(path)


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _write_predictions(path: Path, captions: list[str]) -> str:
    tables.write(path, tables.PREDICTIONS, [{"image_id": f"real-{n}", "caption": c} for n, c in enumerate(captions)])
    return str(path)
