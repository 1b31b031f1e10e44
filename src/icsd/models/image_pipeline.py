"""Loading of text-to-image pipelines of diffusers, with checks of their folders."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from icsd.core.errors import ConfigError, ModelError
from icsd.models.image_lora import Lora, load_loras
from icsd.models.model_code import INDEX
from icsd.models.model_folder import has_vocabulary, read_index
from icsd.models.pipeline_kinds import DRAWN, pipeline_class, refusal
from icsd.models.quantization import quantization

CHECKER = ("safety_checker", "feature_extractor")  # not loaded: the safety check is a stage of its own
HALF = ".fp16."  # in the names of weights in half precision, beside or instead of the plain ones
UNUSED_HEAD = "lm_head"  # predicts words, which no pipeline asks a text encoder for
DISTILLED = ("LCMScheduler", "TCDScheduler")  # of models that are trained for it: they draw noise with another one
WAY_OUT = "give a folder of a text-to-image pipeline of diffusers with safetensors weights, in config/config.yaml"


def load_pipeline(
    folder: Path,
    dtype: str,
    scheduler: str,
    *,
    loras: Sequence[Lora] = (),
    quantize: str = "none",
    offload: str = "none",
    untried: bool = False,
) -> Any:
    """Load the text-to-image pipeline in `folder`, without its safety checker, on the GPU if there is one.

    ModelError if the folder has no such pipeline, is incomplete, or has weights that are not safetensors. ConfigError
    for a class that is not in `DRAWN`, unless `untried`, a `dtype`, `quantize` or `offload` that the machine does not
    support, a `scheduler` that does not fit the model, and LoRA weights that it does not take.
    """
    device = _device(dtype, offload)
    index = _index(folder, untried)
    _keep_quiet()
    options = _left_out(index) | quantization(quantize, index, dtype) | _variant(folder, index)
    # a model file is outside data: any error becomes a message with its name
    try:
        with _missing_weights() as missing:
            pipeline = getattr(diffusers, index["_class_name"]).from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=getattr(torch, dtype), **options
            )
    except Exception as error:
        raise ModelError(f"images.model: diffusers cannot load {folder}: {error}; {WAY_OUT}") from error
    _check_weights(folder, pipeline, missing)
    if scheduler != "model":
        pipeline.scheduler = _dpm_solver(pipeline.scheduler)
    load_loras(pipeline, loras)
    pipeline.set_progress_bar_config(disable=True)
    # its warning about long sentences prints each one in full
    diffusers_logging.get_logger(type(pipeline).__module__).setLevel(logging.ERROR)
    return _placed(pipeline, device, offload)


def usual_dtype() -> str:
    """Return the dtype that "auto" stands for on this machine."""
    return "float16" if torch.cuda.is_available() else "float32"


def _device(dtype: str, offload: str) -> str:
    if torch.cuda.is_available():
        return "cuda"
    lacks = "needs a GPU, and torch finds none on this machine"
    if dtype == "float16":
        way_out = "give float32 or bfloat16, in config/config.yaml, or run the job on a machine with a GPU"
        raise ConfigError(f"images.dtype=float16 {lacks}; {way_out}")
    if offload != "none":
        raise ConfigError(f"images.offload={offload} {lacks}; give none, in config/config.yaml")
    return "cpu"


def _placed(pipeline: Any, device: str, offload: str) -> Any:
    """Put the pipeline on the device, or its parts one after the other while they compute."""
    if offload == "model":
        pipeline.enable_model_cpu_offload()
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload()
    else:
        pipeline.to(device)
    return pipeline


def _index(folder: Path, untried: bool) -> dict[str, Any]:
    """Read the folder's index of parts; ModelError unless it is that of a text-to-image pipeline.

    ConfigError for a class that is not in `DRAWN`, unless `untried`.
    """
    index, path = read_index("images.model", folder), folder / INDEX
    name = index.get("_class_name")
    kind = pipeline_class(name) if isinstance(name, str) else None
    reason = "is no text-to-image pipeline of diffusers" if kind is None else refusal(kind)
    if reason:
        raise ModelError(f"images.model: {path} names {name}, which {reason}; {WAY_OUT}")
    if name not in DRAWN and not untried:
        problem = f"{path} names {name}, which no test ever drew with"
        raise ConfigError(f"images.model: {problem}; set images.untried: true to load it, or {WAY_OUT}")
    _check_parts(folder, index)
    return index


def _check_parts(folder: Path, index: Mapping[str, Any]) -> None:
    """Raise ModelError for a missing part, of which diffusers builds an empty one."""
    for name, kind in index.items():
        if name in CHECKER or not _is_part(kind):
            continue
        if problem := _missing(folder / name, str(kind[-1])):
            raise ModelError(f"images.model: diffusers cannot load {folder}: {problem}; {WAY_OUT}")


def _is_part(kind: Any) -> bool:
    """Return whether a value of an index names a class: its library and its name. Others are settings."""
    return isinstance(kind, list) and len(kind) == 2 and all(isinstance(each, str) for each in kind)


def _missing(part: Path, kind: str) -> str:
    """Return which file of a part is missing; empty if none is known to be."""
    if not part.is_dir():
        return f"it holds no folder {part.name}, which its {INDEX} names"
    if not part.name.startswith("tokenizer"):
        return ""
    if not has_vocabulary(part, kind):
        return f"it holds no vocabulary, such as tokenizer.json, in {part.name}"
    if not (part / "tokenizer_config.json").is_file():
        return f"it holds no file tokenizer_config.json in {part.name}"
    return ""


def _variant(folder: Path, index: Mapping[str, Any]) -> dict[str, str]:
    """Return the arguments that load weights in half precision where a part has no others."""
    for name in index:
        weights = [path.name for path in (folder / name).glob("*.safetensors")]
        if weights and name not in CHECKER and all(HALF in name for name in weights):
            return {"variant": HALF.strip(".")}
    return {}


def _left_out(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that load a pipeline with these parts without its safety checker."""
    parts: dict[str, Any] = {name: None for name in CHECKER if name in index}
    return parts | {"requires_safety_checker": False} if "requires_safety_checker" in index else parts


class _Missing(logging.Handler):
    """Collects the names of weights that transformers reports as missing: it gives them random numbers."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.names += re.findall(r"^(\S.*?)\s*\|.*MISSING", record.getMessage(), re.MULTILINE)


@contextmanager
def _missing_weights() -> Iterator[list[str]]:
    """Yield a list that gets the names of weights of text encoders that no file holds."""
    log, handler = logging.getLogger("transformers.modeling_utils"), _Missing()
    level = log.level
    log.setLevel(logging.WARNING)  # whatever TRANSFORMERS_VERBOSITY says
    log.addHandler(handler)
    try:
        yield handler.names
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _check_weights(folder: Path, pipeline: Any, missing: Sequence[str]) -> None:
    """Raise ModelError for a weight that no file holds: one of `missing`, or one that is on the meta device."""
    parts = [(name, part) for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)]
    empty = [f"{name}.{weight}" for name, part in parts for weight, values in part.named_parameters() if values.is_meta]
    absent = [*empty, *(name for name in missing if UNUSED_HEAD not in name)]
    if absent:
        problem = f"its files hold no {absent[0]}, one of {len(absent)} missing weights"
        raise ModelError(f"images.model: diffusers cannot load {folder}: {problem}; {WAY_OUT}")


def _dpm_solver(scheduler: Any) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ for the noise of the model's own scheduler."""
    name = type(scheduler).__name__
    if name in DISTILLED or DPMSolverMultistepScheduler not in getattr(scheduler, "compatibles", []):
        problem = f"does not go with the model's {name}"
        raise ConfigError(f"images.scheduler=dpmsolver++ {problem}; give model, in config/config.yaml")
    return DPMSolverMultistepScheduler.from_config(scheduler.config, algorithm_type="dpmsolver++")


def _keep_quiet() -> None:
    # they draw a progress bar for each batch and each model
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
