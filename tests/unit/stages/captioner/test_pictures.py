"""How a picture becomes a square, and crops of pictures at their own size, beside transformers, torchvision and PIL."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from captioner_world import elsewhere, job_of, settings_of, write_world
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop, Resize
from transformers import AutoImageProcessor

from icsd.config import CaptionerConfig
from icsd.config.captioner import Fit
from icsd.core import tables
from icsd.core.errors import InputError
from icsd.stages.captioner.augmentation import random_boxes, squares
from icsd.stages.captioner.folder import GenerationSettings, write_folder
from icsd.stages.captioner.model import load_captioner, new_captioner
from icsd.stages.captioner.pictures import Decoded, Pictures, Square, find_pictures, find_squares
from icsd.stages.captioner.predicting import _read
from icsd.stages.captioner.processes import Processes
from icsd.stages.captioner.training import prepare, train

CPU = torch.device("cpu")
SIZES = [(48, 20), (31, 53), (640, 427), (27, 400), (16, 16), (49, 7)]


@pytest.fixture
def settings(captioner_folder: Path) -> CaptionerConfig:
    return settings_of(captioner_folder)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(80, 170, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def write_images(path: Path, pictures: Sequence[Image.Image]) -> list[str]:
    """Write an IMAGES table of these pictures; their ids."""
    rows = []
    for number, picture in enumerate(pictures):
        file = io.BytesIO()
        picture.save(file, "PNG")
        image = {"bytes": file.getvalue(), "path": None}
        rows.append({"image_id": f"multi-{number}", "image": image, "sentence": "", "seed": 0, "model": ""})
    tables.write(path, tables.IMAGES, rows)
    return [row["image_id"] for row in rows]


def test_pictures_of_other_sizes_become_squares(tmp_path: Path):
    (wide,) = write_images(tmp_path / "images.parquet", [Image.new("RGB", (48, 20), (10, 200, 30))])
    pixels = find_squares([tmp_path / "images.parquet"], Square(16), [wide], "pairs.parquet")[:]
    assert pixels.shape == (1, 16, 16, 3)
    assert (pixels == [10, 200, 30]).all()


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_a_checkpoints_processor_fits_as_the_pipeline_does(
    settings: CaptionerConfig, tmp_path: Path, size: tuple[int, int], fit: Fit
):
    """Otherwise an exported captioner would see other pictures than it was trained on."""
    captioner = new_captioner(settings.model_copy(update={"fit": fit}), 0, CPU)
    captioner.processor.save_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    (expected,) = processor(noise(*size), return_tensors="np", do_rescale=False, do_normalize=False).values()
    assert captioner.square == Square(16, fit)
    assert (captioner.square.of(noise(*size)) == np.moveaxis(expected[0], 0, -1)).all()


@pytest.mark.parametrize("size", SIZES)
def test_squash_is_the_published_codes_resize(size: tuple[int, int]):
    expected = Resize((384, 384), interpolation=InterpolationMode.BICUBIC)(noise(*size))
    assert (Square(384, "squash").of(noise(*size)) == np.asarray(expected)).all()


def test_each_fit_shows_its_part_of_the_picture():
    bars = np.zeros((30, 60, 3), dtype=np.uint8)
    bars[:, 0:15], bars[:, 15:45], bars[:, 45:60] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    cropped, squashed, padded = (Square(12, fit).of(Image.fromarray(bars)) for fit in ("crop", "squash", "pad"))
    assert (cropped[6, :, 1] > 200).all()  # the outer quarters are never seen
    assert (squashed[:, 0] == squashed[:1, :1, :][0]).all() and squashed[6, 0, 0] > 200 and squashed[6, 11, 2] > 200
    assert (padded[:3] == 0).all() and (padded[9:] == 0).all() and padded[6, 0, 0] > 200 and padded[6, 11, 2] > 200


def test_a_checkpoint_keeps_its_fit_and_captions_follow_it(settings: CaptionerConfig, tmp_path: Path):
    captioner = new_captioner(settings.model_copy(update={"fit": "squash"}), 0, CPU)
    captioner.save(tmp_path / "checkpoint")
    (tmp_path / "exported").mkdir()
    write_folder(tmp_path / "checkpoint", tmp_path / "exported", GenerationSettings("a picture of", 3, 5, 12))
    noise(48, 20).save(tmp_path / "wide.png")
    for folder in ("checkpoint", "exported"):
        square = load_captioner(tmp_path / folder).square
        assert square == Square(16, "squash")
        assert (_read(tmp_path / "wide.png", square) == np.asarray(noise(48, 20).resize((16, 16), 3))).all()


def test_a_checkpoint_without_a_fit_crops(settings: CaptionerConfig, tmp_path: Path):
    new_captioner(settings, 0, CPU).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("picture_fit") == "crop"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_captioner(tmp_path).square == Square(16, "crop")


# --- Crops of pictures at their own size ------------------------------------------------------------------------------


def ids_of(image_ids: Sequence[str]) -> pa.Array:
    return pa.array(sorted(image_ids), pa.large_string())


def in_two_shards(folder: Path, *, indexed: bool) -> list[tuple[Path, str]]:
    """Noise of each of SIZES; unless `indexed` the second shard is of a version without an index."""
    write_images(folder / "images.parquet", [noise(*size) for size in SIZES])
    shards = [folder / "second.parquet", folder / "first.parquet"]
    table = tables.read(folder / "images.parquet", tables.IMAGES)
    for shard, part in zip(shards, (table[4:], table[:4]), strict=True):
        tables.write(shard, tables.IMAGES, part)
    if not indexed:
        pq.write_table(pq.read_table(shards[0]), shards[0])
    return [(shard, "") for shard in shards]


@pytest.fixture
def whole(tmp_path: Path) -> Pictures:
    """Noise of each of SIZES, in two shards."""
    ids = ids_of([f"multi-{number}" for number in range(len(SIZES))])
    return find_pictures(in_two_shards(tmp_path, indexed=True), ids, "pairs.parquet")


def test_whole_pictures_are_read_as_they_are(whole: Pictures, tmp_path: Path):
    (tmp_path / "mixed").mkdir()
    mixed = find_pictures(in_two_shards(tmp_path / "mixed", indexed=False), whole.ids, "pairs.parquet")
    assert len(mixed.held) == 2 and mixed.digest == whole.digest
    for number, size in enumerate(SIZES):
        row = whole.ids.to_pylist().index(f"multi-{number}")
        assert whole.shapes(np.array([row])).tolist() == [list(size[::-1])]
        for pictures in (whole, mixed):
            assert (np.asarray(pictures.picture(row)) == np.asarray(noise(*size))).all()


def test_a_picture_that_no_shard_has_is_named(whole: Pictures):
    with pytest.raises(InputError, match="multi-7: 2 pictures are in no images table"):
        find_pictures([(whole.tables[1], "")], ids_of(["multi-0", "multi-7", "multi-8"]), "pairs.parquet")


def test_a_picture_that_was_not_drawn_is_named(tmp_path: Path):
    rows = [{"image_id": "multi-0", "image": None, "sentence": "", "seed": 0, "model": "", "reason": "refused"}]
    tables.write(tmp_path / "images.parquet", tables.IMAGES, rows)
    with pytest.raises(InputError, match="multi-0: 1 pictures are in no images table"):
        find_pictures([(tmp_path / "images.parquet", "")], ids_of(["multi-0"]), "pairs.parquet")


def test_a_shard_written_anew_during_a_training_is_named(whole: Pictures, tmp_path: Path):
    tables.write(
        tmp_path / "first.parquet", tables.IMAGES, tables.read(tmp_path / "first.parquet", tables.IMAGES)[::-1]
    )
    with pytest.raises(InputError, match=r"first\.parquet, multi-0"):
        whole.picture(0)


def test_files_without_an_index_must_fit_in_memory(whole: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("icsd.stages.captioner.pictures.HELD_BYTES", 100)
    with pytest.raises(InputError, match=r"second\.parquet: has no index of its pictures"):
        find_pictures(in_two_shards(tmp_path, indexed=False), whole.ids, "pairs.parquet")


def test_few_pictures_are_decoded_once_and_many_each_time(whole: Pictures, monkeypatch: pytest.MonkeyPatch):
    few = Decoded.of(whole, None)
    assert few[0] is few[0]
    monkeypatch.setattr("icsd.stages.captioner.pictures.KEPT_BYTES", 6 * 3 * 16**2)
    assert Decoded.of(whole, None).kept is None
    assert Decoded.of(whole, Square(16)).kept == {}


def test_crops_are_those_of_pil(whole: Pictures):
    """The published code crops and resizes by PIL; here only the rounding of a value may differ."""
    rows = np.arange(len(SIZES))
    boxes = random_boxes(whole.shapes(rows), 0.5, np.random.default_rng(1))
    crops = [
        np.asarray(whole.picture(row))[top : top + height, left : left + width].reshape(-1)
        for row, (left, top, width, height) in zip(rows.tolist(), boxes.tolist(), strict=True)
    ]
    found = squares(torch.from_numpy(np.concatenate(crops)), boxes, 24, CPU).numpy().astype(int)
    for crop, size, (left, top, width, height) in zip(found, SIZES, boxes.tolist(), strict=True):
        region = noise(*size).crop((left, top, left + width, top + height))
        expected = np.asarray(region.resize((24, 24), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(crop - expected).max() <= 1


@pytest.mark.parametrize("size", [(640, 480), (512, 512), (200, 300)])
def test_boxes_are_drawn_as_torchvision_draws_them(size: tuple[int, int]):
    """The means of 4,000 boxes lie within three standard errors of those that torchvision draws."""
    width, height = size
    torch.manual_seed(0)
    picture = torch.empty(3, height, width)
    theirs = [RandomResizedCrop.get_params(picture, [0.5, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    expected = np.asarray(theirs)[:, [1, 0, 3, 2]]  # theirs are top, left, height, width
    found = random_boxes(np.repeat([[height, width]], 4000, axis=0), 0.5, np.random.default_rng(0))
    error = np.sqrt((found.var(axis=0) + expected.var(axis=0)) / 4000)
    assert (np.abs(found.mean(axis=0) - expected.mean(axis=0)) < 3 * error).all()
    assert found.std(axis=0) == pytest.approx(expected.std(axis=0), rel=0.08)
    assert (found[:, 0] + found[:, 2] <= width).all() and (found[:, 1] + found[:, 3] <= height).all()
    assert found.min() >= 0 and (found[:, 2] * found[:, 3] >= 0.49 * width * height).all()


@pytest.mark.parametrize(("size", "box"), [((400, 17), (188, 0, 23, 17)), ((17, 400), (0, 188, 17, 23))])
def test_a_long_picture_is_cropped_in_the_centre(size: tuple[int, int], box: tuple[int, ...]):
    width, height = size
    assert RandomResizedCrop.get_params(torch.empty(3, height, width), [0.5, 1.0], [3 / 4, 4 / 3]) == (
        box[1], box[0], box[3], box[2],
    )  # fmt: skip
    assert random_boxes(np.asarray([[height, width]]), 0.5, np.random.default_rng(0)).tolist() == [list(box)]


def test_training_crops_whole_pictures_and_repeats(settings: CaptionerConfig, tmp_path: Path):
    paths = write_world(tmp_path)
    write_images(tmp_path / "images.parquet", [noise(20 + 9 * number, 33) for number in range(8)])
    varied = settings.model_copy(
        update={"steps": 4, "flip": True, "crop": 0.5, "crop_from": "picture", "fit": "squash"}
    )
    training, _, _ = prepare(job_of(paths, varied), Processes())
    assert training.setup.decoded.square is None
    assert training.validation.squares.decoded.square == Square(16, "squash")
    histories = []
    for each in (paths, elsewhere(paths, tmp_path)):
        train(job_of(each, varied))
        histories.append(tables.read(each.history, tables.HISTORY).to_pylist())
    assert histories[0] == histories[1]
    assert load_captioner(paths.checkpoint).square == Square(16, "squash")


def test_parts_of_a_batch_see_the_same_crops(settings: CaptionerConfig, tmp_path: Path):
    paths = write_world(tmp_path)
    varied = settings.model_copy(update={"steps": 2, "crop": 0.5, "crop_from": "picture"})
    still = varied.model_copy(update={"decoder": varied.decoder.model_copy(update={"dropout": 0.0})})
    losses = []
    for parts in (1, 4):
        train(job_of(paths, still.model_copy(update={"batch_parts": parts})))
        losses.append([row["loss"] for row in tables.read(paths.history, tables.HISTORY).to_pylist()[:2]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
