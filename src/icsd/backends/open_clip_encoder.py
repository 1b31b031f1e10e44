"""The text tower of an open_clip model: from a folder, a name of open_clip's own or the hub."""

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
    file_digest,
    folder_digest,
    folder_kind,
    has_vocabulary,
    is_hub_id,
    model_folder,
    not_fetched,
)  # fmt: skip
from icsd.backends.packed_tower import PackedTower, can_pack
from icsd.backends.token_batches import Tokens
from icsd.errors import ModelError

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
HUB_FILES = (CONFIG, *WEIGHTS, *TOKENIZER_FILES)
WAY_OUT = (
    f"give a folder with {CONFIG} and {WEIGHTS[0]}, an open_clip name such as ViT-B-32/laion2b_s34b_b79k, or "
    "an id of the hub, in config/config.yaml"
)
Tokenizer = Callable[[list[str]], torch.Tensor]


class WholeTower:
    """Any text tower of open_clip, each caption with all its padding, as `encode_text` wants it."""

    equal_lengths = True

    def __init__(self, model: torch.nn.Module, tokenizer: Tokenizer, dtype: torch.dtype) -> None:
        self._model: Any = model if dtype == torch.bfloat16 else model.to(dtype)
        self._tokenizer, self._dtype = tokenizer, dtype

    def tokens(self, texts: list[str]) -> Tokens:
        """Each caption, padded to the context."""
        return Tokens.of(self._tokenizer(texts).numpy())

    def vectors(self, tokens: Tokens, size: int) -> torch.Tensor:
        """What `encode_text` gives, [n, d]; in bfloat16 its matrix products alone are."""
        device = next(self._model.parameters()).device
        rows = torch.from_numpy(tokens.flat.reshape(len(tokens.lengths), -1)).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16):
            return self._model.encode_text(rows)


@dataclass(frozen=True)
class Loaded:
    """An open_clip model in float32, its tokenizer, and what its files are."""

    model: torch.nn.Module
    tokenizer: Tokenizer
    digest: str


def open_clip_tower(model: str, device: torch.device, dtype: torch.dtype) -> tuple[PackedTower | WholeTower, str]:
    """The tower, and the digest of the files that it is made of.

    ModelError if there is no such model, or if its weights are not safetensors.
    """
    loaded = _load_named(model) if model.partition("/")[0] in open_clip.list_models() else _load_folder(model)
    loaded.model.visual = torch.nn.Identity()  # or its weights would take memory
    kind = PackedTower if can_pack(loaded.model) else WholeTower
    return kind(loaded.model.eval().to(device), loaded.tokenizer, dtype), loaded.digest


def _load_folder(model: str) -> Loaded:
    if not Path(model).is_dir() and not is_hub_id(model):
        raise ModelError(f"embeddings.model={model}: no such folder, and no model of open_clip; {WAY_OUT}")
    folder = model_folder("embeddings.model", model, HUB_FILES)
    _check(model, folder)
    # a model file is outside data: whatever is wrong with it, the user needs its name and what was found
    try:
        loaded, tokenizer = (
            open_clip.create_model(f"local-dir:{folder}"),
            open_clip.get_tokenizer(f"local-dir:{folder}"),
        )
    except Exception as error:
        message = f"embeddings.model={model}: open_clip cannot load the folder: {error}; {WAY_OUT}"
        raise ModelError(message) from error
    if isinstance(tokenizer, HFTokenizer) and not has_vocabulary(folder):
        problem = "the folder holds no tokenizer.json, and no vocabulary of another name, for its config's tokenizer"
        raise ModelError(f"embeddings.model={model}: {problem}; {WAY_OUT}")
    return Loaded(loaded, tokenizer, folder_digest(folder))


def _check(model: str, folder: Path) -> None:
    missing = [names for names in ((CONFIG,), WEIGHTS) if not any((folder / name).is_file() for name in names)]
    if not missing:
        return
    kind = folder_kind(folder)
    found = f", and is {kind}" if kind and CONFIG in missing[0] else ""
    hint = "set embeddings.kind to transformers, or " if "transformers" in found else ""
    lacks = " or ".join(missing[0])
    raise ModelError(f"embeddings.model={model}: the folder holds no {lacks}{found}; {hint}{WAY_OUT}")


def _load_named(name: str) -> Loaded:
    architecture, _, tag = name.partition("/")
    known = get_pretrained_cfg(architecture, tag)
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        problem = f"no such folder, and no model of open_clip (weights of {architecture}: {tags})"
        raise ModelError(f"embeddings.model={name}: {problem}; {WAY_OUT}")
    repository = known.get("hf_hub", "").rpartition("/")[0]
    try:
        weights = download_pretrained(known)  # in a job from huggingface_hub's own cache alone: it is offline
    except Exception as error:
        raise ModelError(not_fetched("embeddings.model", name, repository)) from error
    if not weights.endswith(".safetensors"):
        problem = f"{weights} is not safetensors, and pickles are not loaded"
        raise ModelError(f"embeddings.model={name}: {problem}; {WAY_OUT}")
    model = open_clip.create_model(architecture, weights, force_quick_gelu=bool(known.get("quick_gelu")))
    return Loaded(model, open_clip.get_tokenizer(architecture), file_digest(Path(weights)))
