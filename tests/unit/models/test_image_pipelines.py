"""Pipelines of several kinds: drawn as their own calls draw, overlapped, and with too little memory."""

import io
import json
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoPipelineForText2Image,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from icsd.core.errors import ConfigError, ModelError
from icsd.models.image_generator import ImageGenerator, load_image_generator
from icsd.models.image_pipeline import _dpm_solver, load_pipeline

# diffusers' DPM-Solver and NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SENTENCES, SEEDS = [f"a red dog {name}" for name in "abcde"], [5, 4, 3, 2, 1]
KINDS = ["stable_diffusion_folder", "sdxl_folder", "pixart_folder"]


def _autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 8], norm_num_groups=4, sample_size=16,
    )  # fmt: skip


@pytest.fixture(scope="session")
def sdxl_folder(stable_diffusion_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StableDiffusionXLPipeline of 16 by 16 pixels, whose own scheduler draws noise at each step."""
    tokenizer = CLIPTokenizer.from_pretrained(stable_diffusion_folder / "tokenizer")
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=24, projection_dim=16, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("sdxl")
    StableDiffusionXLPipeline(
        vae=_autoencoder(),
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=8, down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"], block_out_channels=[8, 16], layers_per_block=1,
            cross_attention_dim=32, attention_head_dim=4, norm_num_groups=4, use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=8, transformer_layers_per_block=1,
            projection_class_embeddings_input_dim=6 * 8 + 16,
        ),
        scheduler=EulerAncestralDiscreteScheduler(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def pixart_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PixArtAlphaPipeline of 16 by 16 pixels: a transformer for the UNet, T5 for CLIP."""
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)]
    tokenizer = T5Tokenizer(vocab=[*marks, *((letter, -2.0) for letter in "abcdefghijklmnopqrstuvwxyz")], extra_ids=0)
    torch.manual_seed(2)
    folder = tmp_path_factory.mktemp("pixart")
    PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=T5EncoderModel(
            T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
        ),
        vae=_autoencoder(),
        transformer=PixArtTransformer2DModel(
            sample_size=8, num_layers=1, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16,
            caption_channels=16, use_additional_conditions=False,
        ),
        scheduler=DPMSolverMultistepScheduler(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _draw(generator: ImageGenerator, batch_size: int = 2, negative_prompt: str = "") -> np.ndarray:
    """Pictures [n, height, width, 3] of SENTENCES."""
    pngs: list[bytes] = []

    def receive(first: int, batch: list[bytes]) -> None:
        assert first == len(pngs)
        pngs.extend(batch)

    generator.draw(SENTENCES, SEEDS, batch_size, receive, steps=2, guidance_scale=3.0, negative_prompt=negative_prompt)
    return np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in pngs])


def _by_the_call(folder: Path, dpm_solver: bool = True, **call: Any) -> np.ndarray:
    """The pictures of SENTENCES drawn one by one with the pipeline's call."""
    pipeline = AutoPipelineForText2Image.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if dpm_solver:
        config = pipeline.scheduler.config
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++")
    pictures = []
    for sentence, seed in zip(SENTENCES, SEEDS, strict=True):
        generator = torch.Generator().manual_seed(seed)
        drawn = pipeline(sentence, num_inference_steps=2, guidance_scale=3.0, generator=generator, **call)
        pictures.append(np.asarray(drawn.images[0]))
    return np.stack(pictures)


def _difference(first: np.ndarray, second: np.ndarray) -> int:
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second.astype(int)).max())


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_those_of_the_pipelines_own_call(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    call = {"use_resolution_binning": False, "clean_caption": False} if kind == "pixart_folder" else {}
    drawn = _draw(load_image_generator(folder, (16, 24)))
    assert drawn.shape == (5, 16, 24, 3)
    assert _difference(drawn, _by_the_call(folder, height=16, width=24, **call)) <= 1
    assert len({picture.tobytes() for picture in drawn}) == 5
    with_negative = _draw(load_image_generator(folder, (16, 24)), negative_prompt="fog")
    assert _difference(with_negative, drawn) > 1
    negative = _by_the_call(folder, height=16, width=24, negative_prompt="fog", **call)
    assert _difference(with_negative, negative) <= 1


def test_the_models_own_scheduler_draws_with_noise_of_each_pictures_seed(sdxl_folder: Path) -> None:
    generator = load_image_generator(sdxl_folder, None, scheduler="model")
    drawn = _draw(generator)
    assert _difference(drawn, _by_the_call(sdxl_folder, dpm_solver=False)) <= 1
    assert _difference(drawn, _draw(generator, batch_size=5)) <= 1
    assert _difference(drawn, _draw(load_image_generator(sdxl_folder, None))) > 1


def test_a_scheduler_that_dpm_solver_cannot_replace_is_an_error() -> None:
    assert isinstance(_dpm_solver(DDIMScheduler()), DPMSolverMultistepScheduler)
    match = r"^images\.scheduler=dpmsolver\+\+ does not go with the model's FlowMatchEulerDiscreteScheduler; give model"
    with pytest.raises(ConfigError, match=match):
        _dpm_solver(FlowMatchEulerDiscreteScheduler())


def test_bfloat16_draws_nearly_the_same(stable_diffusion_folder: Path) -> None:
    exact = _draw(load_image_generator(stable_diffusion_folder, None))
    half = _draw(load_image_generator(stable_diffusion_folder, None, dtype="bfloat16"))
    assert 0 < np.abs(half.astype(int) - exact.astype(int)).mean() < 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="the refusal of CUDA: run without a GPU")
def test_a_gpu_that_is_not_there_is_an_error(stable_diffusion_folder: Path) -> None:
    match = r"^images\.dtype=float16 needs a GPU, and torch finds none on this machine; give float32 or bfloat16, in"
    with pytest.raises(ConfigError, match=match):
        load_image_generator(stable_diffusion_folder, None, dtype="float16")


@pytest.mark.parametrize(
    ("index", "problem"),
    [
        (None, "holds no model_index.json"),
        ("{", "model_index.json is no JSON"),
        ("[]", "names None, which is no text-to-image pipeline of diffusers"),
        ({"_class_name": "StableDiffusionInpaintPipeline"}, "names StableDiffusionInpaintPipeline, which"),
        ({"_class_name": "StableDiffusionControlNetPipeline"}, "names StableDiffusionControlNetPipeline, which"),
        ({"_class_name": ["pipeline", "Mine"]}, r"names \['pipeline', 'Mine'\], which"),
    ],
)
def test_a_folder_of_another_kind_is_named(tmp_path: Path, index: Any, problem: str) -> None:
    if index is not None:
        text = index if isinstance(index, str) else json.dumps(index)
        (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(ModelError, match=rf"^images\.model: .*{tmp_path}.*{problem}.*; give a folder of a text-to-im"):
        load_pipeline(tmp_path, "float32", "model")


@pytest.mark.parametrize(
    "missing",
    ["transformer", "text_encoder/model.safetensors", "tokenizer", "tokenizer/tokenizer.json", "vae/config.json"],
)
def test_a_missing_part_is_named(tmp_path: Path, pixart_folder: Path, missing: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pixart_folder, copy)
    shutil.rmtree(copy / missing) if (copy / missing).is_dir() else (copy / missing).unlink()
    with pytest.raises(ModelError, match=rf"^images\.model: diffusers cannot load {copy}: .*{missing.split('/')[0]}"):
        load_pipeline(copy, "float32", "model")


# --- Batches: a pipeline without a model, whose pictures tell their seed ----------------------------------------------


class FakePipeline:
    """A pipeline that draws a grey of the seed's value; it calls `before` with the number of requested pictures."""

    def __init__(self, before: Callable[[int], None]) -> None:
        self.before = before

    def __call__(self, prompt, num_inference_steps, guidance_scale, generator, output_type, height=8, width=8):
        self.before(len(prompt))
        greys = [each.initial_seed() for each in generator]
        return SimpleNamespace(images=[Image.new("RGB", (width, height), (grey,) * 3) for grey in greys])


def _greys(pipeline: FakePipeline, count: int, batch_size: int) -> tuple[list[int], list[int]]:
    """The greys of `count` pictures, and the sizes of the batches that were received."""
    pngs: list[bytes] = []
    sizes: list[int] = []

    def receive(first: int, batch: list[bytes]) -> None:
        assert first == len(pngs)
        pngs.extend(batch)
        sizes.append(len(batch))

    ImageGenerator(pipeline, None).draw(
        ["a dog"] * count, range(count), batch_size, receive, steps=1, guidance_scale=1.0, negative_prompt=""
    )
    return [Image.open(io.BytesIO(png)).getpixel((0, 0))[0] for png in pngs], sizes


def test_too_little_memory_halves_the_batch(caplog: pytest.LogCaptureFixture) -> None:
    tried: list[int] = []

    def out_of_memory_above_five(size: int) -> None:
        tried.append(size)
        if size > 5:
            raise torch.OutOfMemoryError("of the test")

    with caplog.at_level(logging.WARNING):
        greys, sizes = _greys(FakePipeline(out_of_memory_above_five), 14, 16)
    assert greys == list(range(14))
    assert (tried, sizes) == ([14, 7, 3, 3, 3, 3, 2], [3, 3, 3, 3, 2])
    assert "not enough memory for 14 pictures at once; continuing with 7" in caplog.text


def test_memory_that_runs_out_later_loses_no_drawn_picture() -> None:
    calls: list[int] = []

    def out_of_memory_at_the_third(size: int) -> None:
        calls.append(size)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("of the test")

    assert _greys(FakePipeline(out_of_memory_at_the_third), 10, 4) == (list(range(10)), [4, 4, 1, 1])
    assert calls == [4, 4, 2, 1, 1]


def test_no_memory_for_one_picture_is_an_error() -> None:
    def out_of_memory(size: int) -> None:
        raise torch.OutOfMemoryError("of the test")

    with pytest.raises(ModelError, match=r"^images: not enough memory to draw one picture; give a smaller"):
        _greys(FakePipeline(out_of_memory), 3, 2)


def test_decoding_without_memory_beside_the_next_batch_runs_alone(
    stable_diffusion_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    generator = load_image_generator(stable_diffusion_folder, None)
    expected, decode = _draw(generator, batch_size=1), generator.pipeline.vae.decode

    def out_of_memory_in_another_thread(latents: torch.Tensor, **options: Any) -> Any:
        if threading.current_thread() is not threading.main_thread() and len(latents) > 1:
            raise torch.OutOfMemoryError("of the test")
        return decode(latents, **options)

    monkeypatch.setattr(generator.pipeline.vae, "decode", out_of_memory_in_another_thread)
    with caplog.at_level(logging.WARNING):
        drawn = _draw(generator, batch_size=2)
    assert _difference(drawn, expected) <= 1
    assert "not enough memory for 2 pictures at once; continuing with 1" in caplog.text
    monkeypatch.setattr(generator.pipeline.vae, "decode", _out_of_memory)
    with pytest.raises(ModelError, match=r"^images: not enough memory to decode one picture"):
        _draw(generator, batch_size=2)


def _out_of_memory(*arguments: Any, **options: Any) -> None:
    raise torch.OutOfMemoryError("of the test")


def test_files_are_made_while_the_next_batch_is_drawn() -> None:
    received = threading.Event()
    calls: list[bool] = []

    def wait_for_the_first_batch(size: int) -> None:
        calls.append(len(calls) == 1 and received.wait(timeout=20))

    def receive(first: int, batch: list[bytes]) -> None:
        received.set()

    ImageGenerator(FakePipeline(wait_for_the_first_batch), None).draw(
        ["a dog"] * 2, [1, 2], 1, receive, steps=1, guidance_scale=1.0, negative_prompt=""
    )
    assert calls == [False, True]


def test_an_error_in_receive_ends_the_drawing() -> None:
    def receive(first: int, batch: list[bytes]) -> None:
        raise OSError("of the test")

    calls: list[int] = []
    with pytest.raises(OSError, match="of the test"):
        ImageGenerator(FakePipeline(calls.append), None).draw(
            ["a dog"] * 9, range(9), 1, receive, steps=1, guidance_scale=1.0, negative_prompt=""
        )
    assert len(calls) == 2


def test_a_negative_prompt_is_an_error_for_a_pipeline_without_one() -> None:
    generator = ImageGenerator(FakePipeline(lambda size: None), None)
    with pytest.raises(ConfigError, match=r"^images\.negative_prompt cannot be used: a FakePipeline takes none; give"):
        _draw(generator, negative_prompt="fog")
