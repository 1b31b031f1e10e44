"""Loading of text-to-image pipelines of diffusers, with checks of their folders."""

import inspect
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from icsd.core.errors import ConfigError, ModelError

INDEX = "model_index.json"
# text-to-image pipelines that are known without importing all pipelines of diffusers, which takes seconds
COMMON = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "PixArtAlphaPipeline", "PixArtSigmaPipeline")
CHECKER = ("safety_checker", "feature_extractor")  # not loaded: the safety check is a stage of its own
WORDS = ("tokenizer.json", "vocab.json", "spiece.model")  # a tokenizer has one of them
NEEDED = ("prompt", "num_inference_steps", "guidance_scale", "height", "width", "generator", "output_type")
WAY_OUT = "give a folder of a text-to-image pipeline of diffusers with safetensors weights, in config/config.yaml"


def load_pipeline(folder: Path, dtype: str, scheduler: str) -> Any:
    """Load the text-to-image pipeline in `folder`, without its safety checker, on the GPU if there is one.

    ModelError if the folder has no such pipeline, is incomplete, or has weights that are not safetensors. ConfigError
    for a `dtype` that the machine does not support, or a `scheduler` that does not fit the model.
    """
    device = _device(dtype)
    index = _index(folder)
    _keep_quiet()
    # a model file is outside data: any error becomes a message with its name
    try:
        pipeline = getattr(diffusers, index["_class_name"]).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=getattr(torch, dtype), **_left_out(index)
        )
    except Exception as error:
        raise ModelError(f"images.model: diffusers cannot load {folder}: {error}; {WAY_OUT}") from error
    _check_call(folder, pipeline)
    if scheduler != "model":
        pipeline.scheduler = _dpm_solver(pipeline.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    # its warning about long sentences prints each one in full
    diffusers_logging.get_logger(type(pipeline).__module__).setLevel(logging.ERROR)
    return pipeline.to(device)


def usual_dtype() -> str:
    """Return the dtype that "auto" stands for on this machine."""
    return "float16" if torch.cuda.is_available() else "float32"


def takes(pipeline: Any, argument: str) -> bool:
    """Return whether the pipeline's call has an argument of that name."""
    return argument in inspect.signature(type(pipeline).__call__).parameters


def _device(dtype: str) -> str:
    if torch.cuda.is_available():
        return "cuda"
    if dtype == "float16":
        problem = "needs a GPU, and torch finds none on this machine"
        way_out = "give float32 or bfloat16, in config/config.yaml, or run the job on a machine with a GPU"
        raise ConfigError(f"images.dtype=float16 {problem}; {way_out}")
    return "cpu"


def _index(folder: Path) -> dict[str, Any]:
    """Read the folder's index of parts; ModelError unless it is that of a text-to-image pipeline."""
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"images.model: diffusers cannot load {folder}: it holds no {INDEX}; {WAY_OUT}") from None
    except ValueError as error:
        raise ModelError(f"images.model: {path} is no JSON: {error}; {WAY_OUT}") from error
    kind = index.get("_class_name") if isinstance(index, dict) else None
    if not isinstance(kind, str) or kind not in COMMON and kind not in _all_kinds():
        problem = f"names {kind}, which is no text-to-image pipeline of diffusers"
        raise ModelError(f"images.model: {path} {problem}; {WAY_OUT}")
    _check_parts(folder, index)
    return index


def _check_parts(folder: Path, index: Mapping[str, Any]) -> None:
    """Raise ModelError for a missing part: diffusers builds an empty tokenizer, or does not name the part."""
    for name, kind in index.items():
        if name in CHECKER or not isinstance(kind, list) or None in kind:
            continue
        missing = "" if (folder / name).is_dir() else f"folder {name}, which its {INDEX} names"
        if not missing and name.startswith("tokenizer") and not any((folder / name / v).is_file() for v in WORDS):
            missing = f"file {' or '.join(WORDS)} in {name}"
        if missing:
            raise ModelError(f"images.model: diffusers cannot load {folder}: it holds no {missing}; {WAY_OUT}")


def _all_kinds() -> set[str]:
    """Return the names of the text-to-image classes of diffusers, without those that also need a control picture."""
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING  # late: it imports every pipeline

    return {kind.__name__ for name, kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.items() if "control" not in name}


def _left_out(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that load a pipeline with these parts without its safety checker."""
    parts: dict[str, Any] = {name: None for name in CHECKER if name in index}
    return parts | {"requires_safety_checker": False} if "requires_safety_checker" in index else parts


def _check_call(folder: Path, pipeline: Any) -> None:
    missing = [argument for argument in NEEDED if not takes(pipeline, argument)]
    if missing:
        problem = f"{folder} holds a {type(pipeline).__name__}, which takes no {', '.join(missing)}"
        raise ModelError(f"images.model: {problem}; {WAY_OUT}")


def _dpm_solver(scheduler: Any) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ for the noise of the model's own scheduler."""
    if DPMSolverMultistepScheduler not in scheduler.compatibles:
        problem = f"does not go with the model's {type(scheduler).__name__}"
        raise ConfigError(f"images.scheduler=dpmsolver++ {problem}; give model, in config/config.yaml")
    return DPMSolverMultistepScheduler.from_config(scheduler.config, algorithm_type="dpmsolver++")


def _keep_quiet() -> None:
    # they draw a progress bar for each batch and each model
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
