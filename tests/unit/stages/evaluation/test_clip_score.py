"""CLIPScore and RefCLIPScore, against the plain computation with open_clip's own functions."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icsd.core import tables
from icsd.core.errors import InputError, ModelError
from icsd.picturebook.drawing import render
from icsd.picturebook.phrases import captions
from icsd.picturebook.splits import WORLD_SEED, split_scenes
from icsd.stages.evaluation.clip_score import clip_scores, clip_scores_of, embed_test_pictures

SCENES = split_scenes("test", 6)
CAPTIONS = {
    number: captions(scene, WORLD_SEED)[number % 2 + 1 :] for number, scene in enumerate(SCENES)
}  # three or four captions a picture
PREDICTED = {f"real-{number}": captions(scene, WORLD_SEED)[0] for number, scene in enumerate(SCENES)}
PICTUREBOOK = Path(__file__).parents[4] / "resources" / "picturebook" / "clip"


def test_scores_by_hand() -> None:
    pictures = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    candidates = np.array([[0.6, 0.8], [-1.0, 0.0], [0.0, 1.0]])
    references = [np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0]]), np.array([[0.0, -1.0]])]
    found = clip_scores(pictures, candidates, references)
    assert found["CLIPScore"] == pytest.approx([1.5, 0.0, 2.5])
    assert found["RefCLIPScore"] == pytest.approx([2 * 1.5 * 0.8 / 2.3, 0.0, 0.0])


@pytest.fixture
def test_set(tmp_path: Path) -> tuple[str, str]:
    """The IMAGES and CAPTIONS of six pictures of different sizes."""
    rows = []
    for image_id, scene in enumerate(SCENES):
        file = io.BytesIO()
        Image.fromarray(render(scene)).resize((32 + 2 * image_id, 36)).save(file, "PNG")
        image = {"bytes": file.getvalue(), "path": None}
        rows.append({"image_id": f"real-{image_id}", "image": image, "sentence": "", "seed": 0, "model": ""})
    tables.write(tmp_path / "images.parquet", tables.IMAGES, rows)
    rows = [
        {"caption_id": 10 * image_id + n, "image_id": image_id, "caption": text, "split": "test"}
        for image_id, texts in CAPTIONS.items()
        for n, text in enumerate(texts)
    ]
    tables.write(tmp_path / "captions.parquet", tables.CAPTIONS, rows)
    return str(tmp_path / "images.parquet"), str(tmp_path / "captions.parquet")


def compute_plainly(folder: Path, images: str) -> tuple[list[float], list[float]]:
    """Compute both scores picture by picture."""
    import open_clip
    import torch

    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    def read(text: str) -> torch.Tensor:
        return model.eval().encode_text(tokenizer([f"A photo depicts {text}"]))[0]

    clip, ref = [], []
    with torch.inference_mode():
        for row in tables.read(images, tables.IMAGES).to_pylist():
            seen = model.encode_image(transform(Image.open(io.BytesIO(row["image"]["bytes"])))[None])[0]
            said = read(PREDICTED[row["image_id"]])
            true = [read(text) for text in CAPTIONS[int(row["image_id"].removeprefix("real-"))]]
            clip.append(2.5 * max(float(torch.cosine_similarity(seen, said, dim=0)), 0.0))
            best = max(0.0, *(float(torch.cosine_similarity(each, said, dim=0)) for each in true))
            ref.append(2 * clip[-1] * best / (clip[-1] + best) if clip[-1] + best else 0.0)
    return clip, ref


@pytest.mark.parametrize("folder", [PICTUREBOOK, None], ids=["picturebook", "random"])
@pytest.mark.parametrize("batch_size", [2, 64])
def test_scores_are_those_of_the_plain_computation(
    test_set: tuple[str, str], clip_folder: Path, tmp_path: Path, folder: Path | None, batch_size: int
) -> None:
    model = folder or clip_folder
    vectors = str(tmp_path / "vectors.parquet")
    embed_test_pictures(*test_set, vectors, str(model), batch_size)
    found = clip_scores_of(vectors, str(model), PREDICTED, batch_size)
    clip, ref = compute_plainly(model, test_set[0])
    assert found["CLIPScore"] == pytest.approx(clip, abs=1e-5)
    assert found["RefCLIPScore"] == pytest.approx(ref, abs=1e-5)
    assert any(clip) and any(ref)


def test_the_picture_books_clip_prefers_captions_of_the_picture(test_set: tuple[str, str], tmp_path: Path) -> None:
    vectors = str(tmp_path / "vectors.parquet")
    embed_test_pictures(*test_set, vectors, str(PICTUREBOOK), 64)
    others = dict(zip(PREDICTED, [*list(PREDICTED.values())[1:], PREDICTED["real-0"]], strict=True))
    true, false = (clip_scores_of(vectors, str(PICTUREBOOK), each, 64) for each in (PREDICTED, others))
    print({name: (values.mean().round(3), false[name].mean().round(3)) for name, values in true.items()})
    assert all(true[name].mean() > false[name].mean() for name in ("CLIPScore", "RefCLIPScore"))


def test_a_picture_without_a_vector_is_named(test_set: tuple[str, str], clip_folder: Path, tmp_path: Path) -> None:
    vectors = str(tmp_path / "vectors.parquet")
    embed_test_pictures(*test_set, vectors, str(clip_folder), 8)
    with pytest.raises(InputError, match=r"vectors\.parquet, real-9: the picture has no vector"):
        clip_scores_of(vectors, str(clip_folder), PREDICTED | {"real-9": "a star"}, 8)


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (lambda folder: shutil.rmtree(folder), ["no such folder, and no model of open_clip"]),
        (lambda folder: (folder / "open_clip_model.safetensors").unlink(), ["holds no open_clip_model.safetensors"]),
        (lambda folder: (folder / "open_clip_config.json").write_text("{"), ["open_clip cannot load the folder"]),
    ],
    ids=["missing", "weights", "config"],
)
def test_a_folder_that_is_no_model_is_one_message(
    test_set: tuple[str, str], clip_folder: Path, tmp_path: Path, spoil, parts: list[str]
) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    spoil(folder)
    with pytest.raises(ModelError) as error:
        embed_test_pictures(*test_set, str(tmp_path / "vectors.parquet"), str(folder), 8)
    assert all(part in str(error.value) for part in [f"evaluation.clip_model={folder}", *parts])
    assert not (tmp_path / "vectors.parquet").exists()


def test_pictures_are_prepared_as_the_model_says(clip_folder: Path, tmp_path: Path) -> None:
    """The mean and the deviation are those of the folder's config, not defaults."""
    from icsd.models.open_clip_model import load_clip_model

    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"] |= {"mean": [1.0, 1.0, 1.0], "std": [1.0, 1.0, 1.0]}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    white = Image.new("RGB", (32, 32), "white")
    assert load_clip_model(str(folder), "evaluation.clip_model").transform(white).abs().max() == 0
