import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from strict_checker import make_strict

from icsd.core import tables
from icsd.core.errors import InputError, ModelError
from icsd.stages.safety import check_safety


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _pictures(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) // (1 + i % 5) for i in range(n)]


def _write_images(path: Path, files: list[bytes]) -> Path:
    rows = [
        {
            "image_id": f"multi-{i}",
            "image": {"bytes": png, "path": f"{i}.png"},
            "sentence": "",
            "seed": 0,
            "model": "",
        }
        for i, png in enumerate(files)
    ]
    tables.write(path, tables.IMAGES, rows)
    return path


def _check(folder: Path, files: list[bytes], model: Path | str, batch_size: int = 8) -> list[dict]:
    images = _write_images(folder / "images.parquet", files)
    check_safety(images, folder / "safety.parquet", str(model), 2.0, batch_size)
    return tables.read(folder / "safety.parquet", tables.SAFETY).to_pylist()


@pytest.fixture(scope="module")
def strict_folder(stable_diffusion_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy whose checker finds about half of the pictures below unsafe, some only through special care."""
    folder = tmp_path_factory.mktemp("strict") / "pipeline"
    shutil.copytree(stable_diffusion_folder, folder)
    make_strict(folder, [Image.fromarray(pixels) for pixels in _pictures(40)], quantile=0.9)
    return folder


def test_verdict_is_that_of_the_class_itself(tmp_path: Path, strict_folder: Path) -> None:
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPImageProcessor

    pictures = _pictures(40)
    found = _check(tmp_path, [_png(pixels) for pixels in pictures], strict_folder)
    model = StableDiffusionSafetyChecker.from_pretrained(strict_folder / "safety_checker").eval()
    processor = CLIPImageProcessor.from_pretrained(strict_folder / "feature_extractor")
    pixels = processor([Image.fromarray(picture) for picture in pictures], return_tensors="pt")["pixel_values"]
    _, unsafe = model(pixels, [picture.copy() for picture in pictures])
    assert [row["verdict"] for row in found] == ["unsafe" if bad else "safe" for bad in unsafe]
    assert 5 < sum(unsafe) < 35
    assert all((row["score"] > 0) == bad for row, bad in zip(found, unsafe, strict=True))


def test_special_care_adds_a_hundredth_to_the_concepts() -> None:
    from icsd.models.safety_checker import concept_scores

    limits = np.array([0.2, 0.3], np.float32)
    concepts = np.array([[0.195, 0.1], [0.195, 0.1], [0.1, 0.3004]], np.float32)
    special = np.array([[0.1], [0.11], [0.0]], np.float32)
    scores = concept_scores(special, concepts, np.array([0.1], np.float32), limits)
    np.testing.assert_allclose(scores, [-0.005, 0.005, 0.0], atol=1e-6)


def test_verdicts_do_not_depend_on_batch(tmp_path: Path, strict_folder: Path) -> None:
    files = [_png(pixels) for pixels in _pictures(10)]
    together, alone = _check(tmp_path, files, strict_folder), _check(tmp_path, files, strict_folder, 3)
    assert [row["verdict"] for row in together] == [row["verdict"] for row in alone]
    np.testing.assert_allclose([r["score"] for r in together], [r["score"] for r in alone], atol=1e-3)


def test_pictures_of_one_colour_are_blank(tmp_path: Path, stable_diffusion_folder: Path) -> None:
    red = np.full((16, 16, 3), [255, 0, 0], np.uint8)
    nearly = red.copy()
    nearly[0, 0] = [250, 0, 0]
    half = red.copy()
    half[:8] = 0
    found = _check(tmp_path, [_png(p) for p in (red, nearly, half)], stable_diffusion_folder)
    assert [row["verdict"] for row in found] == ["blank", "blank", "safe"]


def test_a_checker_of_its_own_folder_is_read(tmp_path: Path, strict_folder: Path) -> None:
    alone = tmp_path / "checker"
    shutil.copytree(strict_folder / "safety_checker", alone)
    shutil.copy(strict_folder / "feature_extractor" / "preprocessor_config.json", alone)
    files = [_png(pixels) for pixels in _pictures(4)]
    assert _check(tmp_path, files, alone) == _check(tmp_path, files, strict_folder)


def test_an_empty_shard_needs_no_model(tmp_path: Path) -> None:
    assert _check(tmp_path, [], "/nowhere") == []


def test_a_missing_checker_is_named(tmp_path: Path) -> None:
    files = [_png(_pictures(1)[0])]
    with pytest.raises(ModelError, match=r"^safety\.model or images\.model=/nowhere: no such folder"):
        _check(tmp_path, files, "/nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"cannot load the safety checker in .*empty"):
        _check(tmp_path, files, tmp_path / "empty")
    assert not (tmp_path / "safety.parquet").exists()


def test_a_checker_that_lacks_weights_is_an_error(tmp_path: Path, stable_diffusion_folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(stable_diffusion_folder, copy)
    path = copy / "safety_checker" / "model.safetensors"
    weights = load_file(path)
    del weights["concept_embeds"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"its weights lack concept_embeds"):
        _check(tmp_path, [_png(_pictures(1)[0])], copy)


def test_an_undecodable_picture_is_named(tmp_path: Path, stable_diffusion_folder: Path) -> None:
    with pytest.raises(InputError, match=r"images\.parquet.*multi-1"):
        _check(tmp_path, [_png(_pictures(1)[0]), b"no picture"], stable_diffusion_folder)


def test_a_sentence_without_a_picture_is_missing(tmp_path: Path, stable_diffusion_folder: Path) -> None:
    images = _write_images(tmp_path / "images.parquet", [_png(pixels) for pixels in _pictures(3)])
    rows = tables.read(images, tables.IMAGES).to_pylist()
    tables.write(images, tables.IMAGES, [rows[0], rows[1] | {"image": None, "reason": "refused: no"}, rows[2]])
    check_safety(images, tmp_path / "safety.parquet", str(stable_diffusion_folder), 2.0, 8)
    found = tables.read(tmp_path / "safety.parquet", tables.SAFETY).to_pylist()
    assert [row["image_id"] for row in found] == ["multi-0", "multi-1", "multi-2"]
    assert found[1] == {"image_id": "multi-1", "score": None, "verdict": "missing"}
    assert all(row["score"] is not None for row in (found[0], found[2]))
    tables.write(images, tables.IMAGES, [rows[1] | {"image": None, "reason": "refused: no"}])
    check_safety(images, tmp_path / "safety.parquet", "no model is loaded", 2.0, 8)
