"""Every pipeline class of diffusers: drawn from a folder of random weights, or refused with one message."""

import io
import re
from pathlib import Path

import diffusers
import numpy as np
import pytest
from PIL import Image

from icsd.core.errors import ConfigError, ModelError
from icsd.models.image_generator import ImageGenerator, load_image_generator
from icsd.models.image_pipeline import WAY_OUT, load_pipeline
from icsd.models.pipeline_kinds import DRAWN, IMAGE_OPTIONAL, accepts, default_of, pipeline_class, refusal
from tests.support.further_pipelines import FURTHER_PARTS
from tests.support.pipelines import PARTS, save_pipeline

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning"),
]
GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "images.md"
# their calls take a sentence alone, and no folder of them is made here: refused without images.untried
UNTRIED = {
    "BriaFiboPipeline", "Cosmos2TextToImagePipeline", "DreamLiteMobilePipeline", "DreamLitePipeline",
    "GlmImagePipeline", "Ideogram4Pipeline",
}  # fmt: skip
ALL_PARTS = PARTS | FURTHER_PARTS
SIZES = {"HiDreamImagePipeline": (128, 128)}  # it scales each size to the area of its autoencoder's factor
SENTENCES = ["a red dog", "a blue cat on the mat of a house"]


def _draw(generator: ImageGenerator, batch_size: int) -> np.ndarray:
    """Pictures [2, height, width, 3] of SENTENCES."""
    pngs: list[bytes] = []
    guided = accepts(generator.pipeline, "guidance_scale") and not accepts(generator.pipeline, "true_cfg_scale")
    generator.draw(
        SENTENCES, [1, 2], batch_size, lambda first, batch: pngs.extend(batch), steps=2,
        guidance_scale=4.0 if guided else None, negative_prompt="",
    )  # fmt: skip
    return np.stack([np.asarray(Image.open(io.BytesIO(png))).astype(int) for png in pngs])


@pytest.mark.parametrize("name", DRAWN)
def test_a_pipeline_draws_a_sentence_whatever_its_batch(name: str, tmp_path: Path) -> None:
    size = SIZES.get(name, (32, 32))
    folder = save_pipeline(name, tmp_path, ALL_PARTS[name])
    short = {"prior_num_inference_steps": 2} if default_of(pipeline_class(name), "prior_num_inference_steps") else {}
    generator = load_image_generator(folder, size, scheduler="model", parameters=short)
    if name == "Kandinsky5T2IPipeline":
        generator.pipeline.resolutions = [size]  # its own are seven of a megapixel
    drawn = _draw(generator, 2)
    assert drawn.shape == (2, *size, 3)
    assert np.abs(drawn - _draw(generator, 1)).max() <= 1
    assert (drawn[0] != drawn[1]).any()


def test_each_class_is_drawn_here_or_untried() -> None:
    assert sorted(ALL_PARTS) == sorted(DRAWN)
    assert not UNTRIED & {*DRAWN}


@pytest.mark.parametrize("name", sorted(UNTRIED))
def test_an_untried_class_is_refused_unless_the_config_allows_it(name: str, tmp_path: Path) -> None:
    # the folder of a part is missing, which is checked after the class
    index = tmp_path / "model_index.json"
    index.write_text(f'{{"_class_name": "{name}", "scheduler": ["diffusers", "DDIMScheduler"]}}')
    with pytest.raises(ConfigError) as caught:
        load_pipeline(tmp_path, "float32", "model")
    assert str(caught.value) == (
        f"images.model: {index} names {name}, which no test ever drew with; set images.untried: true to load it, or "
        f"{WAY_OUT}"
    )
    with pytest.raises(ModelError, match="it holds no folder scheduler"):
        load_image_generator(tmp_path, None, scheduler="model", untried=True)


def test_every_other_class_is_refused_with_one_message(tmp_path: Path) -> None:
    names = [name for name in dir(diffusers) if name.endswith("Pipeline")]
    assert len(names) > 200
    accepted = {name for name in names if (kind := pipeline_class(name)) and refusal(kind) is None}
    assert accepted == {*DRAWN} | UNTRIED
    assert set(IMAGE_OPTIONAL) <= accepted
    for name in sorted({*names} - accepted):
        (tmp_path / "model_index.json").write_text(f'{{"_class_name": "{name}"}}')
        with pytest.raises(ModelError) as caught:
            load_pipeline(tmp_path, "float32", "model")
        assert re.fullmatch(
            rf"images\.model: \S+ names {name}, which .*; give a folder of a text-to.*", str(caught.value)
        )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("StableDiffusionInpaintPipeline", "draws from an image: its call takes image, mask_image"),
        ("FluxControlPipeline", "draws from an image: its call takes control_image"),
        ("KandinskyV22Pipeline", "needs more than a sentence: its call needs image_embeds, negative_image_embeds"),
        ("WanPipeline", "makes video or sound: its call takes num_frames"),
        ("KandinskyPriorPipeline", "is the first half of another pipeline"),
        ("WuerstchenCombinedPipeline", "is deprecated: diffusers does not maintain it"),
        ("OnnxStableDiffusionPipeline", "needs the packages torch, transformers, onnx, of which at least one is not"),
        ("ShapEPipeline", "cannot be steered: its call takes no height, width"),
        ("DiffusionPipeline", "cannot be called"),
    ],
)
def test_a_refusal_names_its_reason(name: str, reason: str) -> None:
    assert (refusal(pipeline_class(name)) or "").startswith(reason)


def test_the_guide_names_the_classes_that_are_tried_and_not() -> None:
    tried, untried = re.findall(
        r"^\| (?:drawn|only with `images.untried: true`) \| (.*) \|$", GUIDE.read_text(), re.MULTILINE
    )
    assert _named(tried) == {*DRAWN}
    assert _named(untried) == UNTRIED


def _named(cell: str) -> set[str]:
    return {f"{name}Pipeline" for name in re.findall(r"`(\w+)`", cell)}
