"""Stable Diffusion: sentences to pictures."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from transformers.utils import logging as transformers_logging

from icsd.errors import ConfigError, ModelError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageGenerator:
    """A pipeline in float32 with DPM-Solver++, and the side of its pictures in pixels (None: the model's)."""

    pipeline: StableDiffusionPipeline
    size: int | None

    def draw(
        self,
        sentences: Sequence[str],
        seeds: Sequence[int],
        batch_size: int,
        *,
        steps: int,
        guidance_scale: float,
        negative_prompt: str,
    ) -> Iterator[Image.Image]:
        """A picture a sentence, in order; up to rounding the same in any batch."""
        self._warn_of_long(sentences)
        for start in range(0, len(sentences), batch_size):
            batch = list(sentences[start : start + batch_size])
            # on the CPU: the same noise on every device
            generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds[start : start + batch_size]]
            yield from self.pipeline(
                batch,
                height=self.size,
                width=self.size,
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
                negative_prompt=[negative_prompt] * len(batch),
                generator=generators,
            ).images

    def _warn_of_long(self, sentences: Sequence[str]) -> None:
        tokenizer = self.pipeline.tokenizer
        limit = tokenizer.model_max_length
        tokens = tokenizer(list(sentences), truncation=False, verbose=False)["input_ids"]
        long = sum(len(ids) > limit for ids in tokens)
        if long:
            text = "%d of %d sentences are longer than the text encoder's %d tokens: their ends are not drawn"
            _log.warning(text, long, len(sentences), limit)


def load_image_generator(folder: Path, size: int | None) -> ImageGenerator:
    """The pipeline in `folder` without its safety checker, a stage of its own; on the GPU if there is one.

    ModelError if the folder is incomplete or its weights are not safetensors; ConfigError for a `size` that
    the model can't draw.
    """
    _keep_quiet()
    # a model file is outside data: whatever is wrong with it, the user needs its name and what was found
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    except Exception as error:
        way_out = "give a StableDiffusionPipeline folder with safetensors weights, in config/config.yaml"
        message = f"images.model: diffusers cannot load {folder}: {error}; {way_out}"
        raise ModelError(message) from error
    step = max(8, pipeline.vae_scale_factor)
    if size is not None and size % step:
        raise ConfigError(f"images.size={size} must be a multiple of {step}, in config/config.yaml")
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, algorithm_type="dpmsolver++"
    )
    pipeline.set_progress_bar_config(disable=True)
    return ImageGenerator(pipeline.to("cuda" if torch.cuda.is_available() else "cpu"), size)


def _keep_quiet() -> None:
    # their bars are one a batch and one a model; the warning about long sentences prints each of them in full
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    diffusers_logging.get_logger(StableDiffusionPipeline.__module__).setLevel(logging.ERROR)
