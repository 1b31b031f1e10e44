"""The measures of a run of the claim, on numbers small enough to check by hand."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.picturebook import claim
from icsd.picturebook.claim import ProbedPictures, count_captions, measure_arm, read_counts, read_quality
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


def test_counts_are_read_as_they_were_written(test_set: ProbedPictures, tmp_path: Path) -> None:
    said = {
        ("single", 0): ["a blue ball", "a blue fish"],
        ("multi", 1): ["a red ball and a white house", "a yellow fish"],
    }
    predictions = {run: _write_predictions(tmp_path / f"{run[0]}-{run[1]}.parquet", each) for run, each in said.items()}
    counts, quality = str(tmp_path / "counts.parquet"), str(tmp_path / "test.parquet")
    count_captions(predictions, test_set, counts, quality)
    ids, found = read_counts(counts)
    assert ids == ["real-0", "real-1"]
    assert {run: each.objects.tolist() for run, each in found.items()} == {
        ("single", 0): [[1, 0], [1, 1]],
        ("multi", 1): [[2, 2], [1, 0]],
    }
    counted = dict(zip(said, claim.count_pictures(list(said.values()), test_set), strict=True))
    for run, each in counted.items():
        assert found[run].cider == pytest.approx(each.cider, rel=1e-6)
        assert (found[run].bleu == each.bleu).all()
    assert read_quality(quality)["test"]["objects named"] == 1.25  # 5 objects in 4 captions
    assert read_quality(quality)["test"]["of them seen"] == 1


def test_a_picture_without_a_caption_is_one_message(test_set: ProbedPictures, tmp_path: Path) -> None:
    predictions = _write_predictions(tmp_path / "predictions.parquet", ["a red ball"])
    with pytest.raises(InputError, match="real-1"):
        count_captions({("multi", 0): predictions}, test_set, "counts.parquet", "test.parquet")


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


def test_an_arm_is_measured_by_its_pairs_pictures_and_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"a": ["a red ball on the grass", "a blue cottage"], "b": ["a fish and a star"]}
    captions = [(image_id, text) for image_id, texts in said.items() for text in texts]
    rows = [{"image_id": image_id, "caption_id": n, "caption": text} for n, (image_id, text) in enumerate(captions)]
    tables.write(tmp_path / "pairs.parquet", tables.PAIRS, rows)
    seen = {"a": {("red", "ball"), ("white", "house"), ("red", "kite")}, "b": {("blue", "fish")}}
    monkeypatch.setattr(claim, "detect_in_tables", lambda images, ids, probe: [seen[each] for each in ids])
    images = [_write_images(tmp_path / f"{n}.parquet", ids) for n, ids in enumerate((["a", "b", "c"], ["a_1"]))]
    histories = [
        _write_history(tmp_path / "seed-0.parquet", [(100, 1.0, 0.5), (200, 1.2, 0.1)]),
        _write_history(tmp_path / "seed-1.parquet", [(100, 1.0, 0.3), (200, 1.2, 0.3)]),
    ]
    table = str(tmp_path / "measured.parquet")
    measure_arm("multi", str(tmp_path / "pairs.parquet"), images, histories, "probe", table)
    rows = tables.read(table, tables.QUALITY).to_pylist()
    assert {row["measure"]: (row["value"], row["items"]) for row in rows} == {
        "pictures drawn": (4, 1), "pictures kept": (2, 1), "pairs": (3, 1),
        "CIDEr + BLEU-4 on val": (pytest.approx(1.5), 2),  # the best step of each training
        "objects named": (pytest.approx(4 / 3), 3),
        "of them seen": (2 / 4, 4),  # the ball and the fish; the cottage is not blue, and there is no star
        "objects seen": (2, 2),
        "of them named": (3 / 4, 4),  # all but the kite
    }  # fmt: skip
    measure_arm("real", str(tmp_path / "pairs.parquet"), images, histories, "probe", table)
    assert read_quality(table)["real"]["pictures drawn"] == 0


def _write_images(path: Path, ids: list[str]) -> str:
    rows = [
        {"image_id": image_id, "image": {"bytes": b"", "path": None}, "sentence": "", "seed": 0, "model": ""}
        for image_id in ids
    ]
    tables.write(path, tables.IMAGES, rows)
    return str(path)


def _write_history(path: Path, steps: list[tuple[int, float, float]]) -> str:
    rows = [
        {"step": step, "loss": 1.0, "learning_rate": 0.1, "metric": metric, "value": value}
        for step, cider, bleu_4 in steps
        for metric, value in ((None, None), ("CIDEr", cider), ("BLEU-4", bleu_4))
    ]
    tables.write(path, tables.HISTORY, rows)
    return str(path)


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _write_predictions(path: Path, captions: list[str]) -> str:
    tables.write(path, tables.PREDICTIONS, [{"image_id": f"real-{n}", "caption": c} for n, c in enumerate(captions)])
    return str(path)
