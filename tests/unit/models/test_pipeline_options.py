"""Arguments of the call, lengths of prompts, LoRA weights, variants, offload, quantization, incomplete folders."""

import json
import logging
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from icsd.core.errors import ConfigError, ModelError
from icsd.models import prompt_tokenizer
from icsd.models.image_generator import ImageGenerator, load_image_generator
from icsd.models.image_lora import Lora, find_lora
from icsd.models.image_pipeline import _dpm_solver, _placed, load_pipeline
from icsd.models.pipeline_call import call_arguments
from icsd.models.quantization import quantization
from tests.support.pipelines import save_pipeline

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline("FluxPipeline", tmp_path_factory.mktemp("flux"))


class _Pipeline:
    """A call like Flux's; its denoiser has a guidance scale as input if `guided`."""

    def __init__(self, guided: bool) -> None:
        self.transformer = SimpleNamespace(config=SimpleNamespace(guidance_embeds=guided))

    def __call__(
        self, prompt=None, negative_prompt=None, true_cfg_scale=1.0, num_inference_steps=28, guidance_scale=3.5,
        height=None, width=None, generator=None, output_type="pil", max_sequence_length=512, use_pe=True,
        enable_prompt_rewrite=True,
    ):  # fmt: skip
        return SimpleNamespace(images=[Image.new("RGB", (16, 16))] * len(prompt))


class _Plain:
    """A call without guidance and negative prompt, and with a guidance of another name."""

    def __call__(self, prompt=None, num_inference_steps=28, prior_guidance_scale=4.0, height=None, width=None):
        raise RuntimeError("sizes do not match")


# --- The call ---------------------------------------------------------------------------------------------------------
def test_a_call_gets_what_is_set_and_no_more() -> None:
    assert call_arguments(_Pipeline(True), (16, 24), 4, 2.5, "", {"max_sequence_length": 256}) == {
        "use_pe": False, "enable_prompt_rewrite": False, "max_sequence_length": 256, "num_inference_steps": 4,
        "height": 16, "width": 24, "guidance_scale": 2.5,
    }  # fmt: skip
    assert call_arguments(_Plain(), None, 4, None, "", {}) == {"num_inference_steps": 4}
    guided = call_arguments(_Pipeline(False), None, 4, 0.0, "fog", {"true_cfg_scale": 4.0})
    assert guided == {
        "use_pe": False, "enable_prompt_rewrite": False, "true_cfg_scale": 4.0, "num_inference_steps": 4,
        "guidance_scale": 0.0, "negative_prompt": "fog",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pipeline", "guidance", "negative", "parameters", "message"),
    [
        (_Plain(), 3.0, "", {}, r"guidance_scale=3 .*takes none; give null, and prior_guidance_scale in images\.param"),
        (_Pipeline(False), 3.0, "", {}, r"guidance_scale=3 cannot.* ignores it, .*; give null, and true_cfg_scale in"),
        (_Pipeline(True), 3.0, "fog", {}, r"negative_prompt is not used: images\.parameters\.true_cfg_scale is 1, and"),
        (_Plain(), None, "fog", {}, r"negative_prompt cannot be used: a _Plain takes none; give "),
        (_Plain(), None, "", {"clip_skip": 1}, r"has clip_skip, which a _Plain .*; it takes prior_guidance_scale; m"),
        (_Plain(), None, "", {"height": 8}, r"images\.parameters has height, which the stage sets"),
    ],
)
def test_a_value_that_is_not_used_is_an_error(
    pipeline: Any, guidance: float | None, negative: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        call_arguments(pipeline, None, 4, guidance, negative, parameters)


def _draw(generator: ImageGenerator, sentence: str = "a dog", guidance: float | None = None) -> list[bytes]:
    pngs: list[bytes] = []
    generator.draw(
        [sentence], [1], 1, lambda first, batch: pngs.extend(batch), steps=1, guidance_scale=guidance,
        negative_prompt="",
    )  # fmt: skip
    return pngs


def test_an_error_of_the_pipeline_is_one_message() -> None:
    with pytest.raises(
        ModelError, match=r"^images\.model: its _Plain fails to draw: .*generator.*; change images\.size"
    ):
        _draw(ImageGenerator(_Plain(), None))


def test_a_size_that_the_pipeline_rounds_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"^images\.size=\[24, 16\]: a _Pipeline draws 16 by 16 pixels instead; give"):
        _draw(ImageGenerator(_Pipeline(True), (24, 16)))


def test_distilled_models_keep_their_scheduler() -> None:
    with pytest.raises(ConfigError, match="does not go with the model's LCMScheduler; give model"):
        _dpm_solver(diffusers.LCMScheduler())


# --- Prompt length ----------------------------------------------------------------------------------------------------
def test_the_widest_text_encoder_decides_what_fits(flux_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    sentence = "a dog " * 40  # more than CLIP's 77 tokens, and less than T5's 512
    counter = prompt_tokenizer.load_token_counter.__wrapped__(str(flux_folder))
    assert (counter.limit, counter.count([sentence])) == (512, [6 * 40 + 1])
    generator = load_image_generator(flux_folder, (16, 16), scheduler="model")
    with caplog.at_level(logging.WARNING):
        _draw(generator, sentence)
        assert "their ends are not drawn" not in caplog.text
        _draw(ImageGenerator(generator.pipeline, (16, 16), {"max_sequence_length": 100}), sentence)
    assert "1 of 1 sentences are longer than the text encoder's 100 tokens: their ends are not drawn" in caplog.text


def test_stable_diffusion_is_counted_without_its_class(stable_diffusion_folder: Path, tmp_path: Path) -> None:
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(stable_diffusion_folder / "tokenizer", tmp_path / name)
    clip = ["transformers", "CLIPTokenizer"]
    index = {"_class_name": "OfNoLibrary", "tokenizer": clip, "tokenizer_2": clip}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert prompt_tokenizer.token_limit(str(tmp_path)) == 24
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ModelError, match=r"model_index\.json names no tokenizer"):
        prompt_tokenizer.load_token_counter.__wrapped__(str(tmp_path))


@pytest.mark.parametrize("kind", ["CLIPModel", "pipeline", "NoClass"])
def test_the_index_names_tokenizers_alone_for_counts(stable_diffusion_folder: Path, tmp_path: Path, kind: str) -> None:
    shutil.copytree(stable_diffusion_folder / "tokenizer", tmp_path / "tokenizer")
    parts = {"tokenizer": ["transformers", kind], "tokenizer/../../elsewhere": ["transformers", "CLIPTokenizer"]}
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"} | parts))
    counter = prompt_tokenizer.load_token_counter.__wrapped__(str(tmp_path))
    assert isinstance(counter.tokenizer, transformers.CLIPTokenizer) and counter.limit == 24


# --- Folders ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def copy(stable_diffusion_folder: Path, tmp_path: Path) -> Path:
    """A copy of the Stable Diffusion folder, to be spoilt."""
    return Path(shutil.copytree(stable_diffusion_folder, tmp_path / "copy"))


def test_a_tokenizer_without_its_config_is_named(copy: Path) -> None:
    (copy / "tokenizer/tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match=r"it holds no file tokenizer_config\.json in tokenizer; give"):
        load_pipeline(copy, "float32", "model")


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_a_missing_weight_is_named(copy: Path, file: str, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(partial(transformers_logging.set_verbosity, transformers_logging.get_verbosity()))
    transformers_logging.set_verbosity_error()  # as a user's TRANSFORMERS_VERBOSITY does
    weights = load_file(copy / file)
    name = sorted(weights)[0]
    save_file({key: value for key, value in weights.items() if key != name}, copy / file, {"format": "pt"})
    with pytest.raises(ModelError, match=rf"^images\.model: diffusers cannot load {copy}: .*{name.split('.')[-2]}"):
        load_pipeline(copy, "float32", "model")


def test_weights_in_half_precision_alone_are_loaded(copy: Path, stable_diffusion_folder: Path) -> None:
    for path in [*copy.glob("*/*.safetensors")]:
        half = {name: value.half() for name, value in load_file(path).items()}
        save_file(half, path.with_suffix(".fp16.safetensors"), {"format": "pt"})
        path.unlink()
    loaded = load_pipeline(copy, "float32", "model").unet.conv_in.weight
    exact = load_pipeline(stable_diffusion_folder, "float32", "model").unet.conv_in.weight
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, exact.half().float())


# --- LoRA, offload, quantization --------------------------------------------------------------------------------------
@pytest.fixture
def lora_folder(tmp_path: Path) -> Path:
    """LoRA weights of the test's Stable Diffusion: one layer."""
    torch.manual_seed(3)
    name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_{}.weight"
    folder = tmp_path / "lora"
    folder.mkdir()
    weights = {name.format("A"): torch.randn(2, 8) * 9, name.format("B"): torch.randn(8, 2) * 9}
    save_file(weights, folder / "red.safetensors")
    return folder


def test_lora_weights_change_the_picture_by_their_scale(stable_diffusion_folder: Path, lora_folder: Path) -> None:
    def drawn(*loras: Lora) -> list[bytes]:
        return _draw(load_image_generator(stable_diffusion_folder, None, loras=loras), guidance=3.0)

    lora = find_lora(str(lora_folder), None, 1.0)
    assert lora.file == lora_folder / "red.safetensors"
    plain = drawn()
    assert drawn(lora) != plain
    assert drawn(Lora(lora.file, 0.0)) == plain
    assert drawn(lora, Lora(lora.file, -1.0)) != drawn(lora)


def test_lora_weights_of_another_model_are_an_error(stable_diffusion_folder: Path, lora_folder: Path) -> None:
    weights = load_file(lora_folder / "red.safetensors")
    save_file({f"of.{name}": value for name, value in weights.items()}, lora_folder / "blue.safetensors")
    with pytest.raises(
        ModelError, match=r"images\.lora: .*blue\.safetensors is no LoRA of this StableDiffusionPipeline"
    ):
        load_pipeline(stable_diffusion_folder, "float32", "model", loras=[Lora(lora_folder / "blue.safetensors", 1.0)])
    with pytest.raises(
        ModelError, match=r"holds 2 safetensors files \(blue\.safetensors, red\.safetensors\); name one"
    ):
        find_lora(str(lora_folder), None, 1.0)
    with pytest.raises(ModelError, match=r"holds no file green\.safetensors; mend file"):
        find_lora(str(lora_folder), "green.safetensors", 1.0)
    (lora_folder / "old.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"old\.bin is no safetensors file"):
        find_lora(str(lora_folder / "old.bin"), None, 1.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the refusal of CUDA: run without a GPU")
def test_offload_and_quantization_need_a_gpu(stable_diffusion_folder: Path) -> None:
    for key in ("offload", "quantize"):
        value = "model" if key == "offload" else "8bit"
        with pytest.raises(
            ConfigError, match=rf"^images\.{key}={value} needs a GPU, and torch finds none on this mach"
        ):
            load_pipeline(stable_diffusion_folder, "float32", "model", **{key: value})


@pytest.mark.parametrize("offload", ["model", "sequential", "none"])
def test_offload_places_parts_in_diffusers_way(offload: str) -> None:
    called: list[str] = []
    pipeline = SimpleNamespace(
        enable_model_cpu_offload=lambda: called.append("model"),
        enable_sequential_cpu_offload=lambda: called.append("sequential"),
        to=called.append,
    )
    assert _placed(pipeline, "cuda", offload) is pipeline
    assert called == ["cuda" if offload == "none" else offload]


def test_quantization_takes_the_denoiser_and_the_text_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    index = {
        "_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"], "vae": ["diffusers", "AutoencoderKL"],
        "image_encoder": [None, None], "text_encoder_select_layers": [0, 1],
    }  # fmt: skip
    assert quantization("none", index, "bfloat16") == {}
    kinds = (diffusers.BitsAndBytesConfig, transformers.BitsAndBytesConfig, diffusers.PipelineQuantizationConfig)
    assert all(kinds)  # imported before packages seem to be missing
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^images\.quantize=4bit needs the package bitsandbytes, which is not inst"):
        quantization("4bit", index, "bfloat16")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.49.0")
    for quantize, bits in (("8bit", "load_in_8bit"), ("4bit", "load_in_4bit")):
        mapping = quantization(quantize, index, "bfloat16")["quantization_config"].quant_mapping
        assert sorted(mapping) == ["text_encoder_2", "transformer"]
        assert all(getattr(each, bits) for each in mapping.values())
        assert type(mapping["transformer"]).__module__.startswith("diffusers")
        assert type(mapping["text_encoder_2"]).__module__.startswith("transformers")
