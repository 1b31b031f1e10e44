"""Models of transformers from a folder, or one message that names the key and what is wrong."""

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedConfig
from transformers.utils import logging as transformers_logging

from icsd.errors import ModelError

transformers_logging.disable_progress_bar()  # the job's log is read by people
transformers_logging.set_verbosity_error()  # it lists the tensors that are missing: those that may be, too


def load_weights(
    kind: type[Any], folder: str, key: str, kinds: Sequence[str], attention: str, new: str | None = None, **options: Any
) -> Any:
    """A model of `kind` in float32, from a folder whose config.json has one of the model types `kinds`.

    A missing tensor is refused, for transformers would draw it at random; those with `new` in their name may be.
    """
    check_kind(folder, key, kind.__name__, kinds)
    options |= {"dtype": torch.float32, "use_safetensors": True, "attn_implementation": attention}
    model, info = loaded(kind, folder, key, output_loading_info=True, **options)
    unfit = sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])])
    unfit = [name for name in unfit if new is None or new not in name]
    if unfit:
        problem = f"its weights are not those of a {kind.__name__} as its config.json says (no fitting {unfit[0]})"
        raise ModelError(f"{key}={folder}: {problem}")
    return model


def check_kind(folder: str, key: str, wanted: str, kinds: Sequence[str]) -> dict[str, Any]:
    """The values of config.json; ModelError unless its model_type is one of `kinds`: transformers only warns."""
    config, _ = loaded(PreTrainedConfig, folder, key, "get_config_dict")
    found = config.get("model_type")
    if found not in kinds:
        problem = f"its config.json has model_type {found!r}, which is no {wanted} ({' or '.join(kinds)})"
        raise ModelError(f"{key}={folder}: {problem}; give a folder or a hub id of that kind")
    return dict(config)


def loaded(kind: type[Any], folder: str, key: str, method: str = "from_pretrained", **options: Any) -> Any:
    """What `from_pretrained` gives, or one message for a folder that is cut short or foreign."""
    try:
        return getattr(kind, method)(folder, **options)
    except (OSError, ValueError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{key}={folder} can't be loaded: {reason}") from error
