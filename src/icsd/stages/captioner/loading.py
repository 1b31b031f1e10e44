"""Loading of transformers' models and processors from folders: every error is one message."""

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedConfig
from transformers.utils import logging as transformers_logging

from icsd.config import CaptionerConfig
from icsd.core.errors import ModelError
from icsd.models.devices import has_bfloat16

transformers_logging.disable_progress_bar()  # people read the job's log
transformers_logging.set_verbosity_error()  # it also warns of tensors that may be missing

LOADING_ERRORS = (
    OSError, ValueError, SafetensorError, KeyError, TypeError, RuntimeError, AttributeError, ImportError,
)  # fmt: skip


def load_weights(
    kind: type[Any],
    folder: str,
    key: str,
    kinds: Sequence[str],
    attention: str,
    new: Sequence[str] = (),
    **options: Any,
) -> Any:
    """Load a model of class `kind` in float32 from a folder whose config.json has one of the model types `kinds`.

    ModelError for a missing tensor, which transformers would fill with random numbers. Tensors with one of `new` in
    their name may be missing.
    """
    check_kind(folder, key, kind.__name__, kinds)
    return whole_model(kind, folder, key, new, attn_implementation=attention, **options)


def whole_model(kind: type[Any], folder: str, key: str, new: Sequence[str] = (), **options: Any) -> Any:
    """Load a model, in float32 unless `options` say otherwise; ModelError for a missing tensor, but those of `new`."""
    options = {"dtype": torch.float32} | options | {"use_safetensors": True}
    model, info = loaded(kind, folder, key, output_loading_info=True, **options)
    unfit = sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])])
    unfit = [name for name in unfit if not any(part in name for part in new)]
    if unfit:
        problem = f"its weights are not those of a {kind.__name__} as its config.json says (no fitting {unfit[0]})"
        raise ModelError(f"{key}={folder}: {problem}")
    return model


def check_kind(folder: str, key: str, wanted: str, kinds: Sequence[str]) -> dict[str, Any]:
    """Read config.json; ModelError unless its model_type is one of `kinds`: transformers only warns."""
    config = _config(folder, key)
    found = config.get("model_type")
    if found not in kinds:
        problem = f"its config.json has model_type {found!r}, which is no {wanted} ({' or '.join(kinds)})"
        raise ModelError(f"{key}={folder}: {problem}; give a folder or a hub id of that kind")
    return config


def model_type(folder: str, key: str) -> str | None:
    """Return the model_type of a folder's config.json, None if it has none; ModelError if it can't be read."""
    return _config(folder, key).get("model_type")


def _config(folder: str, key: str) -> dict[str, Any]:
    config, _ = loaded(PreTrainedConfig, folder, key, "get_config_dict")
    return dict(config)


def loaded(kind: type[Any], folder: str, key: str, method: str = "from_pretrained", **options: Any) -> Any:
    """Call `from_pretrained`; ModelError for a folder that is damaged or of another kind."""
    try:
        return getattr(kind, method)(folder, **options)
    except LOADING_ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{key}={folder} can't be loaded: {reason}") from error


def attention_on(device: torch.device) -> str:
    """Choose the implementation of attention: on a CPU `eager` trains 1.7 times as fast as `sdpa`."""
    return "sdpa" if device.type == "cuda" else "eager"


def precision(settings: CaptionerConfig, device: torch.device) -> str:
    """Resolve `settings.precision`: "auto" is bfloat16 where the device has units for it, else float32."""
    if settings.precision != "auto":
        return settings.precision
    return "bfloat16" if has_bfloat16(device.type) else "float32"
