"""A model of open_clip with both towers: from a folder, a name of open_clip's own or the hub."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from open_clip.tokenizer import HFTokenizer

from icsd.backends.model_folder import (
    TOKENIZER_FILES,
    folder_digest,
    folder_kind,
    has_vocabulary,
    is_hub_id,
    model_folder,
    not_fetched,
)  # fmt: skip
from icsd.digests import file_sha256
from icsd.errors import ModelError

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
HUB_FILES = (CONFIG, *WEIGHTS, *TOKENIZER_FILES)
WAY_OUT = (
    f"give a folder with {CONFIG} and {WEIGHTS[0]}, an open_clip name such as ViT-B-32/laion2b_s34b_b79k, or "
    "an id of the hub, in config/config.yaml"
)
KIND_SETTING = "embeddings.model"  # beside which a kind can be named
Tokenizer = Callable[[list[str]], torch.Tensor]


@dataclass(frozen=True)
class OpenClipModel:
    """The model in float32, its tokenizer, and what its files are."""

    model: Any  # open_clip's classes come without types
    tokenizer: Tokenizer
    digest: str


def load_open_clip(setting: str, model: str) -> OpenClipModel:
    """The model that the config's `setting` names, on the CPU.

    ModelError, naming the setting, if there is no such model, or if its weights are not safetensors.
    """
    named = model.partition("/")[0] in open_clip.list_models()
    return _load_named(setting, model) if named else _load_folder(setting, model)


def _load_folder(setting: str, model: str) -> OpenClipModel:
    if not Path(model).is_dir() and not is_hub_id(model):
        raise ModelError(f"{setting}={model}: no such folder, and no model of open_clip; {WAY_OUT}")
    folder = model_folder(setting, model, HUB_FILES)
    _check(setting, model, folder)
    # a model file is outside data: whatever is wrong with it, the user needs its name and what was found
    try:
        loaded, tokenizer = (
            open_clip.create_model(f"local-dir:{folder}"),
            open_clip.get_tokenizer(f"local-dir:{folder}"),
        )
    except Exception as error:
        message = f"{setting}={model}: open_clip cannot load the folder: {error}; {WAY_OUT}"
        raise ModelError(message) from error
    if isinstance(tokenizer, HFTokenizer) and not has_vocabulary(folder):
        problem = "the folder holds no tokenizer.json, and no vocabulary of another name, for its config's tokenizer"
        raise ModelError(f"{setting}={model}: {problem}; {WAY_OUT}")
    return OpenClipModel(loaded, tokenizer, folder_digest(folder))


def _check(setting: str, model: str, folder: Path) -> None:
    missing = [names for names in ((CONFIG,), WEIGHTS) if not any((folder / name).is_file() for name in names)]
    if not missing:
        return
    kind = folder_kind(folder)
    found = f", and is {kind}" if kind and CONFIG in missing[0] else ""
    hint = "set embeddings.kind to transformers, or " if "transformers" in found and setting == KIND_SETTING else ""
    lacks = " or ".join(missing[0])
    raise ModelError(f"{setting}={model}: the folder holds no {lacks}{found}; {hint}{WAY_OUT}")


def _load_named(setting: str, name: str) -> OpenClipModel:
    architecture, _, tag = name.partition("/")
    known = get_pretrained_cfg(architecture, tag)
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        problem = f"no such folder, and no model of open_clip (weights of {architecture}: {tags})"
        raise ModelError(f"{setting}={name}: {problem}; {WAY_OUT}")
    repository = known.get("hf_hub", "").rpartition("/")[0]
    try:
        weights = download_pretrained(known)  # in a job from huggingface_hub's own cache alone: it is offline
    except Exception as error:
        raise ModelError(not_fetched(setting, name, repository)) from error
    if not weights.endswith(".safetensors"):
        problem = f"{weights} is not safetensors, and pickles are not loaded"
        raise ModelError(f"{setting}={name}: {problem}; {WAY_OUT}")
    pixels = {key: known[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in known}
    model = open_clip.create_model(
        architecture, weights, force_quick_gelu=bool(known.get("quick_gelu")), force_preprocess_cfg=pixels
    )
    return OpenClipModel(model, open_clip.get_tokenizer(architecture), file_sha256(Path(weights)))
