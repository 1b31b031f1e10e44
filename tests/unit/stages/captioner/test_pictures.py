"""How a picture becomes a square, and crops of pictures at their own size, beside transformers, torchvision and PIL."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
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
from icsd.stages.captioner.augmentation import random_boxes
from icsd.stages.captioner.folder import GenerationSettings, write_folder
from icsd.stages.captioner.model import load_captioner, new_captioner
from icsd.stages.captioner.pictures import Pictures, Square, WholePictures, map_whole_pictures, read_pictures
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
    pixels = read_pictures([tmp_path / "images.parquet"], Square(16), [wide], "pairs.parquet").pixels
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


@pytest.fixture
def whole(tmp_path: Path) -> WholePictures:
    """Noise of each of SIZES, in two shards."""
    pictures = [noise(*size) for size in SIZES]
    ids = write_images(tmp_path / "images.parquet", pictures)
    shards = [tmp_path / "second.parquet", tmp_path / "first.parquet"]
    table = tables.read(tmp_path / "images.parquet", tables.IMAGES)
    for shard, part in zip(shards, (table[4:], table[:4]), strict=True):
        tables.write(shard, tables.IMAGES, part)
    return map_whole_pictures(
        [(path, "") for path in shards], ids, "pairs.parquet", tmp_path / "pictures.npy", Processes(), 2
    )


def test_whole_pictures_are_kept_as_they_are(whole: WholePictures):
    for number, size in enumerate(SIZES):
        (row,) = whole.rows_of([f"multi-{number}"])
        assert (whole.picture(row) == np.asarray(noise(*size))).all()


def test_a_picture_that_no_shard_has_is_named(whole: WholePictures, tmp_path: Path):
    with pytest.raises(InputError, match=r"pairs\.parquet.*multi-7"):
        map_whole_pictures(
            [(tmp_path / "first.parquet", "")], ["multi-7"], "pairs.parquet", tmp_path / "p", Processes(), 1
        )


def test_crops_are_those_of_pil(whole: WholePictures):
    """The published code crops and resizes by PIL; here only the rounding of a value may differ."""
    rows = np.arange(len(SIZES))
    boxes = random_boxes(whole.index[:, 1:], 0.5, np.random.default_rng(1))
    found = whole.crops(rows, boxes, 24, CPU).numpy().astype(int)
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
    assert isinstance(training.setup.pairs.pictures, WholePictures)
    assert isinstance(training.validation.pictures, Pictures)
    histories = []
    for each in (paths, elsewhere(paths, tmp_path)):
        train(job_of(each, varied))
        assert not each.resume.exists()  # with the pictures
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
