"""The text tower of an open_clip model: sentences to unit vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from open_clip.transformer import text_global_pool

from icsd.backends.model_folder import not_fetched
from icsd.errors import ModelError
from icsd.fetched import check_fetched
from icsd.logs import progress
from icsd.vectors import unit_on_grid

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
WAY_OUT = (
    f"give a folder with {CONFIG} and {WEIGHTS}, or an open_clip name such as "
    "ViT-B-32/laion2b_s34b_b79k, in config/config.yaml"
)


@dataclass(frozen=True)
class TextEncoder:
    """An open_clip model in float64, with its tokenizer.

    float64 because a sentence's float32 vector depends in its last bits on the sentences beside it in the
    batch; in float64 that noise (1e-15) is far below the grid to which the vectors are rounded (2e-7), so
    that shards, batches and machines give the same vectors, and the groups made of them the same rows.
    """

    model: torch.nn.Module
    tokenizer: Callable[[list[str]], torch.Tensor]
    device: torch.device

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Unit vectors [n, d] float32, in the order of `texts` (n >= 1), on the grid of `icsd.vectors`."""
        # sentences of like length share a batch, so that little padding is computed
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = []
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        for rows in progress(batches, len(batches), "batches of captions"):
            batch = [texts[i] for i in rows]
            parts.append(self._features(self.tokenizer(batch).to(self.device)).cpu().numpy())
        return unit_on_grid(np.concatenate(parts)[np.argsort(order)])

    def _features(self, tokens: torch.Tensor) -> torch.Tensor:
        """What `encode_text` gives, [m, d], for tokens [m, context], without padding that they do not see."""
        model: Any = self.model  # open_clip's classes come without types
        if not isinstance(model, open_clip.CLIP) or model.attn_mask is None or model.text_pool_type != "argmax":
            return model.encode_text(tokens)
        # causal: what follows the end mark, the highest token, does not reach it
        tokens = tokens[:, : int(tokens.argmax(1).max()) + 1]
        length = tokens.shape[1]
        x = model.token_embedding(tokens) + model.positional_embedding[:length]
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
        x = text_global_pool(x, tokens, "argmax")
        projection = model.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection


Loaded = tuple[torch.nn.Module, Callable[[list[str]], torch.Tensor]]


def load_text_encoder(model: str) -> TextEncoder:
    """The text encoder in the folder `model`, or open_clip's own of the name `<architecture>/<pretrained>`.

    ModelError if there is neither, or if the weights are not safetensors.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded, tokenizer = _load_folder(Path(model)) if Path(model).is_dir() else _load_named(model)
    return TextEncoder(loaded.eval().double().to(device), tokenizer, device)


def _load_folder(folder: Path) -> Loaded:
    check_fetched("embeddings.model", folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"embeddings.model={folder}: the folder holds no {name}; {WAY_OUT}")
    # a model file is outside data: whatever is wrong with it, the user needs its name and what was found
    try:
        return open_clip.create_model(f"local-dir:{folder}"), open_clip.get_tokenizer(f"local-dir:{folder}")
    except Exception as error:
        message = f"embeddings.model={folder}: open_clip cannot load the folder: {error}; {WAY_OUT}"
        raise ModelError(message) from error


def _load_named(name: str) -> Loaded:
    architecture, _, tag = name.partition("/")
    known = get_pretrained_cfg(architecture, tag) if architecture in open_clip.list_models() else None
    if not known:
        raise ModelError(f"embeddings.model={name}: no such folder, and no model of open_clip; {WAY_OUT}")
    repository = known.get("hf_hub", "").rpartition("/")[0]
    try:
        weights = download_pretrained(known)  # in a job from huggingface_hub's own cache alone: it is offline
    except Exception as error:
        raise ModelError(not_fetched("embeddings.model", name, repository)) from error
    if not weights.endswith(".safetensors"):
        problem = f"{weights} is not safetensors, and pickles are not loaded"
        raise ModelError(f"embeddings.model={name}: {problem}; {WAY_OUT}")
    model = open_clip.create_model(architecture, weights, force_quick_gelu=bool(known.get("quick_gelu")))
    return model, open_clip.get_tokenizer(architecture)
