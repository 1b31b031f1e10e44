"""The small image model as one folder: a StableDiffusionPipeline of the parts that were trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer

from icsd.picturebook.generator import SCHEDULER

# Where sampling starts: below it the cosine schedule leaves no signal, and the solver's steps become unstable.
MIN_LOG_SNR = -5.1  # half of the log, as diffusers advises for squaredcos_cap_v2


Model = TypeVar("Model", AutoencoderKL, UNet2DConditionModel)


@dataclass(frozen=True)
class PipelineParts:
    """The folders of the trained parts; the safety checker's holds its picture processor too."""

    autoencoder: Path
    unet: Path
    text_encoder: Path
    tokenizer: Path
    safety_checker: Path


def assemble_pipeline(folder: Path, parts: PipelineParts, dtype: torch.dtype = torch.float16) -> None:
    """Write the pipeline as safetensors, its weights in `dtype`: in half precision they take half the room."""
    pipeline = StableDiffusionPipeline(
        vae=_placeless(AutoencoderKL.from_pretrained(parts.autoencoder, torch_dtype=dtype)),
        text_encoder=CLIPTextModel.from_pretrained(parts.text_encoder, dtype=dtype),
        tokenizer=CLIPTokenizer.from_pretrained(parts.tokenizer),
        unet=_placeless(UNet2DConditionModel.from_pretrained(parts.unet, torch_dtype=dtype)),
        scheduler=new_scheduler(),
        safety_checker=StableDiffusionSafetyChecker.from_pretrained(parts.safety_checker, dtype=dtype),
        feature_extractor=CLIPImageProcessor.from_pretrained(parts.safety_checker),
    )
    pipeline.save_pretrained(folder, safe_serialization=True)


def _placeless(model: Model) -> Model:
    """The model, whose config no longer tells from which folder of this machine it was read."""
    model.register_to_config(_name_or_path="")
    return model


def new_scheduler() -> DPMSolverMultistepScheduler:
    """DPM-Solver++ for the noise that the UNet was trained on."""
    training = {key: value for key, value in SCHEDULER.items() if key != "clip_sample"}  # it has no such key
    return DPMSolverMultistepScheduler(
        **training, algorithm_type="dpmsolver++", lambda_min_clipped=MIN_LOG_SNR,
        steps_offset=1,  # unused with the solver's spacing, but StableDiffusionPipeline insists on it
    )  # fmt: skip
