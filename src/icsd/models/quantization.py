"""Loading of a pipeline's large parts as 8 or 4 bits a weight, by bitsandbytes."""

import importlib.util
from collections.abc import Mapping
from typing import Any

import torch

from icsd.core.errors import ConfigError

DENOISERS = ("unet", "transformer")
PACKAGE = "bitsandbytes"


def quantization(quantize: str, index: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Return the arguments that load the denoiser and the text encoders of a pipeline's `index` with `quantize` bits.

    Empty for "none". ConfigError without a GPU or without bitsandbytes.
    """
    if quantize == "none":
        return {}
    problem = ""
    if not torch.cuda.is_available():
        problem = "needs a GPU, and torch finds none on this machine; run the job on another"
    elif importlib.util.find_spec(PACKAGE) is None:
        problem = f"needs the package {PACKAGE}, which is not installed; run `pip install {PACKAGE}`"
    if problem:
        raise ConfigError(f"images.quantize={quantize} {problem}, or give none, in config/config.yaml")
    from diffusers import PipelineQuantizationConfig

    mapping = {name: _settings(quantize, kind[0], dtype) for name, kind in index.items() if _is_large(name, kind)}
    return {"quantization_config": PipelineQuantizationConfig(quant_mapping=mapping)}


def _is_large(name: str, kind: Any) -> bool:
    large = name.rstrip("_0123456789") in DENOISERS or name.startswith("text_encoder")
    return isinstance(kind, list) and len(kind) == 2 and kind[0] in ("diffusers", "transformers") and large


def _settings(quantize: str, library: str, dtype: str) -> Any:
    """Return the settings of bitsandbytes for a part of that library."""
    import diffusers
    import transformers

    kind = transformers.BitsAndBytesConfig if library == "transformers" else diffusers.BitsAndBytesConfig
    if quantize == "8bit":
        return kind(load_in_8bit=True)
    return kind(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, dtype))
