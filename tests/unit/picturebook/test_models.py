"""The small models' folders: they are trained a few steps and loaded as the pipeline loads any model."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import BertTokenizer, CLIPImageProcessor, CLIPTokenizer, CLIPVisionModel

from icsd.models.image_generator import load_image_generator
from icsd.models.safety_checker import load_safety_checker
from icsd.models.text_encoder import load_text_encoder
from icsd.picturebook.autoencoder import new_autoencoder, train_autoencoder
from icsd.picturebook.clip import load_clip, picture_tokens, save_vision_model, train_clip
from icsd.picturebook.generator import (
    PipelineParts,
    assemble_pipeline,
    new_text_encoder,
    new_unet,
    train_text_encoder,
    train_unet,
)
from icsd.picturebook.mentions import mentioned_background, mentioned_objects, sentences_by_count, shown_background
from icsd.picturebook.probe import Probe, load_probe, train_probe
from icsd.picturebook.quality import DrawingSettings, measure_models
from icsd.picturebook.safety_checker import new_safety_checker, train_safety_checker
from icsd.picturebook.splits import Renders, split_renders
from icsd.picturebook.tokenizers import new_bert_tokenizer, new_clip_tokenizer, save_tokenizer, world_texts
from icsd.picturebook.training import as_tensor

SHIPPED = Path(__file__).parents[3] / "resources" / "picturebook"

# diffusers' scheduler with numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return new_clip_tokenizer(scenes=500)


@pytest.fixture(scope="module")
def data() -> Renders:
    return split_renders("test", 40)


@pytest.fixture(scope="module")
def clip(tokenizer: CLIPTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    train_clip(folder, tokenizer, seed=0, threads=1, steps=3, batch_size=16, scenes=64)
    return folder


@pytest.fixture(scope="module")
def checker(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checker")
    train_safety_checker(folder, clip, seed=0, threads=1, steps=3, batch_size=16, scenes=64)
    return folder


@pytest.fixture(scope="module")
def pipeline(tokenizer: CLIPTokenizer, checker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Assemble a pipeline with random weights in all parts but the checker."""
    parts = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    new_autoencoder((16, 16, 16)).save_pretrained(parts / "vae")
    new_unet((32, 32)).save_pretrained(parts / "unet")
    new_text_encoder(tokenizer).save_pretrained(parts / "text_encoder")
    save_tokenizer(tokenizer, parts / "tokenizer")
    folders = [parts / name for name in ("vae", "unet", "text_encoder", "tokenizer")]
    assemble_pipeline(parts / "pipeline", PipelineParts(*folders, checker))
    return parts / "pipeline"


def test_tokenizers_words_of_the_world_are_one_token_each(tokenizer: CLIPTokenizer) -> None:
    words = {word for text in world_texts(200) for word in text.replace(",", " ").replace(".", " ").split()}
    assert {word for word in words if len(tokenizer.tokenize(word)) != 1} == set()
    assert words | {"a", "picture", "of"} <= set(new_bert_tokenizer(scenes=500).get_vocab())
    assert tokenizer.eos_token_id == len(tokenizer) - 1  # open_clip pools at the highest id


def test_clip_folder_read_as_text_encoder_gives_what_open_clip_gives(clip: Path, data: Renders) -> None:
    encoder = load_text_encoder(str(clip))
    texts = data.captions[0]
    model = load_clip(clip)
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer(f"local-dir:{clip}")(texts), normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode(texts, 2), expected, atol=1e-5)


def test_vision_model_gives_the_numbers_of_the_open_clip_tower(clip: Path, data: Renders, tmp_path: Path) -> None:
    save_vision_model(clip, tmp_path)
    vision, model = CLIPVisionModel.from_pretrained(tmp_path, dtype=torch.float32), load_clip(clip)
    pixels = CLIPImageProcessor.from_pretrained(tmp_path)(list(data.pictures[:4]), return_tensors="pt").pixel_values
    torch.testing.assert_close(pixels, as_tensor(data.pictures[:4], torch.device("cpu")), atol=1e-5, rtol=0)
    with torch.no_grad():
        output, tokens = vision(pixels), picture_tokens(model.visual, pixels)
        torch.testing.assert_close(output.last_hidden_state, tokens, atol=1e-5, rtol=0)
        projected = output.pooler_output @ model.visual.proj
        torch.testing.assert_close(projected, model.encode_image(pixels), atol=1e-5, rtol=0)


def test_new_checker_scores_a_picture_by_its_cosine_with_sentences_on_ghosts(clip: Path, data: Renders) -> None:
    tokenizer, model = CLIPTokenizer.from_pretrained(clip), load_clip(clip)
    checker = new_safety_checker(model, tokenizer)
    with torch.no_grad():
        tokens = open_clip.get_tokenizer(f"local-dir:{clip}")(["a ghost"])
        expected = model.encode_text(tokens, normalize=True)[0]
    torch.testing.assert_close(checker.concept_embeds[0], expected, atol=1e-5, rtol=0)


def test_checker_folder_scores_pictures_as_diffusers_judges(checker: Path, data: Renders) -> None:
    loaded = load_safety_checker(checker)
    pictures = [Image.fromarray(picture) for picture in data.pictures[:6]]
    scores = list(loaded.scores(pictures, batch_size=4))
    pixels = loaded.processor(pictures, return_tensors="pt").pixel_values
    _, unsafe = loaded.model(images=data.pictures[:6].copy(), clip_input=pixels)
    assert [score > 0 for score in scores] == unsafe


def test_pipeline_folder_draws_a_picture_a_sentence(pipeline: Path) -> None:
    pngs: list[bytes] = []
    load_image_generator(pipeline, None).draw(
        ["a red ball", "a tree in a field"], [1, 2], 2, lambda _, batch: pngs.extend(batch),
        steps=2, guidance_scale=3.0, negative_prompt="",
    )  # fmt: skip
    assert [Image.open(io.BytesIO(png)).size for png in pngs] == [(32, 32)] * 2


def test_pipeline_folder_names_no_path_of_the_machine(pipeline: Path, tmp_path: Path) -> None:
    configs = [path.read_text() for path in [*pipeline.rglob("*.json"), *SHIPPED.rglob("*.json")]]
    assert configs and not [text for text in configs if '"_name_or_path": "/' in text or str(tmp_path.parent) in text]


def test_pipeline_folder_holds_only_safetensors_in_half_precision(pipeline: Path) -> None:
    files = {path for path in pipeline.rglob("*") if path.is_file() and path.suffix not in {".json", ".txt"}}
    assert {path.suffix for path in files} == {".safetensors"}
    for path in files:
        weights = load_file(path).values()
        assert {tensor.dtype for tensor in weights if tensor.is_floating_point()} == {torch.float16}


def test_shipped_models_load_and_stay_within_25_megabytes() -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt"}
    load_text_encoder(str(SHIPPED / "clip"))
    load_image_generator(SHIPPED / "stable-diffusion", None)
    load_safety_checker(SHIPPED / "stable-diffusion")
    CLIPVisionModel.from_pretrained(SHIPPED / "vision")
    assert "[UNK]" not in BertTokenizer.from_pretrained(SHIPPED / "bert").tokenize("a picture of a red ball, at sea")
    assert load_probe(SHIPPED / "probe")


@pytest.mark.parametrize("model", ["clip", "checker", "autoencoder", "probe", "text_encoder", "unet"])
def test_training_gives_the_same_weights_for_the_same_seed(
    model: str, clip: Path, pipeline: Path, tokenizer: CLIPTokenizer, tmp_path: Path
) -> None:
    few = {"seed": 0, "threads": 1, "scenes": 64}
    vae, text_encoder = pipeline / "vae", pipeline / "text_encoder"
    trainings: dict[str, Callable[[Path], None]] = {
        "clip": lambda folder: train_clip(folder, tokenizer, steps=3, batch_size=16, **few),
        "checker": lambda folder: train_safety_checker(folder, clip, steps=3, batch_size=16, **few),
        "autoencoder": lambda folder: train_autoencoder(folder, steps=2, **few),
        "probe": lambda folder: train_probe(folder, steps=3, **few),
        "text_encoder": lambda folder: train_text_encoder(folder, tokenizer, steps=3, **few),
        "unet": lambda folder: train_unet(folder, vae, text_encoder, tokenizer, cycles=[2, 1], batch_size=8, **few),
    }
    weights = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        trainings[model](folder)
        weights.append({p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*.safetensors"))})
    assert weights[0] == weights[1] and len(weights[0]) == (2 if model == "unet" else 1)


def test_a_further_cycle_continues_the_one_before(pipeline: Path, tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    weights = []
    for cycles in ([2], [2, 3]):
        train_unet(
            tmp_path, pipeline / "vae", pipeline / "text_encoder", tokenizer, seed=0, threads=1, cycles=cycles,
            batch_size=8, scenes=64,
        )  # fmt: skip
        weights.append(load_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors"))
    distances = [float((weights[1][name] - weights[0][name]).abs().max()) for name in weights[0]]
    assert 0 < max(distances) < 0.02  # three steps of at most 1e-3 each, no new start


def test_mentioned_objects_have_the_colours_that_the_text_gives_them() -> None:
    texts = ["a big red ball beside a kite", "a mug. there is a blue cup in a room"]
    assert [mentioned_objects(text) for text in texts] == [{"ball": "red", "kite": None}, {"cup": "blue"}]
    assert [mentioned_background(text) for text in texts] == [None, "room"]


def test_shown_background_is_the_scenes(data: Renders) -> None:
    assert [shown_background(p) for p in data.pictures] == [scene.background for scene in data.scenes]


def test_sentences_by_count_mention_so_many_objects_of_their_scenes(tokenizer: CLIPTokenizer, data: Renders) -> None:
    sentences = sentences_by_count(data, tokenizer, per_count=3)
    assert [len(sentence.objects) for sentence in sentences[:9]] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_measure_models_gives_shares_and_a_sheet(
    clip: Path, pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"probe_test": 80, "test": 20}
    monkeypatch.setattr(
        "icsd.picturebook.quality.split_renders", lambda split, limit=None: split_renders(split, small[split])
    )
    torch.manual_seed(0)
    save_file(Probe().state_dict(), tmp_path / "model.safetensors")
    rows, sheet = measure_models(clip, pipeline, tmp_path, DrawingSettings(sentences_per_count=2, steps=2))
    assert {row.model for row in rows} == {"probe", "clip", "autoencoder", "generator", "safety checker"}
    assert all(np.isnan(row.value) or 0 <= row.value <= 1 for row in rows if "dB" not in row.measure)
    assert sheet.width > 32
