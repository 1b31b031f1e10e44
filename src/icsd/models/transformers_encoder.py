"""A sentence encoder of transformers; it pools the states of a caption to one vector."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from icsd.core.errors import ModelError
from icsd.models.model_folder import (  # fmt: skip
    TOKENIZER_FILES,
    folder_digest,
    folder_kind,
    has_vocabulary,
    is_hub_id,
    model_folder,
)
from icsd.models.text_encoder import Tokens

# files to download from the hub: no pickles, no second format of the same weights
HUB_FILES = ("config.json", "model*.safetensors", "model.safetensors.index.json", *TOKENIZER_FILES)
WAY_OUT = (
    "give an encoder's folder with config.json and safetensors weights, or its id on the hub, in config/config.yaml"
)
NO_LIMIT = 1_000_000  # a tokenizer without a limit has 10^30


class TransformersTower:
    """An encoder with its tokenizer; only captions of equal length share a batch, so that none is padded."""

    equal_lengths = True

    def __init__(self, model: Any, tokenizer: Any, pooling: str, dtype: torch.dtype) -> None:
        self._model = model if dtype == torch.bfloat16 else model.to(dtype)
        self._tokenizer, self._pooling, self._dtype = tokenizer, pooling, dtype
        self._limit = _limit(model, tokenizer)

    def tokens(self, texts: list[str]) -> Tokens:
        """Tokenize each caption, with the special tokens of the tokenizer, cut at the model's limit."""
        cut = {"truncation": self._limit is not None, "max_length": self._limit}
        return Tokens.of(self._tokenizer(texts, **cut)["input_ids"])

    def vectors(self, tokens: Tokens, size: int) -> torch.Tensor:
        """Compute the pooled states [n, d]; bfloat16 is only used in matrix products."""
        rows = torch.from_numpy(tokens.flat.reshape(len(tokens.lengths), -1)).to(self._model.device)
        with torch.autocast(rows.device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16):
            out = self._model(input_ids=rows, attention_mask=torch.ones_like(rows))
        return _pooled(out, self._pooling)


def _pooled(out: Any, pooling: str) -> torch.Tensor:
    """Pool the states to one vector a row; every token counts in the mean, because there is no padding."""
    if pooling == "pooler":
        return out.pooler_output
    states = out.last_hidden_state
    return states[:, 0] if pooling == "cls" else states.double().mean(1)  # double also for bfloat16 states


def _limit(model: Any, tokenizer: Any) -> int | None:
    """Return the most tokens that the model reads; None if neither it nor its tokenizer has a limit."""
    places = getattr(model.config, "max_position_embeddings", None) or NO_LIMIT
    embedding = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(embedding, "padding_idx", None)
    if padding is not None:
        places -= padding + 1  # RoBERTa and its kin start their positions after the padding's id
    limit = min(places, tokenizer.model_max_length)
    return limit if limit < NO_LIMIT else None


def transformers_tower(
    model: str, pooling: str, device: torch.device, dtype: torch.dtype
) -> tuple[TransformersTower, str]:
    """Load the encoder, and hash its folder.

    ModelError if the folder is of another kind or incomplete, if its weights are not safetensors, or if they lack
    those that `pooling` needs.
    """
    if not Path(model).is_dir() and not is_hub_id(model):
        raise ModelError(f"embeddings.model={model}: no such folder; {WAY_OUT}")
    folder = model_folder("embeddings.model", model, HUB_FILES)
    problem = _missing_file(folder)
    if problem:
        raise ModelError(f"embeddings.model={model}: {problem}; {WAY_OUT}")
    loaded, tokenizer, lacking = _loaded(model, folder)
    problem = _problem(loaded, pooling, lacking)
    if problem:
        raise ModelError(f"embeddings.model={model}: {problem}")
    return TransformersTower(loaded.eval().to(device), tokenizer, pooling, dtype), folder_digest(folder)


def _missing_file(folder: Path) -> str:
    """Return the problem of a folder that is no encoder's or lacks a file; empty if there is none."""
    kind = folder_kind(folder)
    if kind != "a model of transformers":
        hint = "; set embeddings.kind to open_clip" if "open_clip" in kind else ""
        return f"the folder holds no config.json of transformers{kind and f', and is {kind}'}{hint}"
    if not any(folder.glob("model*.safetensors")):
        pickle = next((path.name for path in sorted(folder.glob("*.bin"))), None)
        found = f" ({pickle} is a pickle, which is not loaded: convert it)" if pickle else ""
        return f"the folder holds no model.safetensors{found}"
    return "" if has_vocabulary(folder) else "the folder holds no tokenizer.json, and no vocabulary of another name"


def _loaded(model: str, folder: Path) -> tuple[Any, Any, Collection[str]]:
    """Load the model in float32 and its tokenizer; return them with the names of the weights that the folder lacks."""
    transformers_logging.disable_progress_bar()
    options = {"local_files_only": True, "trust_remote_code": False}
    # a model file is outside data: any error becomes a message with its name
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        loaded, found = AutoModel.from_pretrained(
            folder, **options, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:
        problem = f"transformers cannot load the folder: {error}"
        raise ModelError(f"embeddings.model={model}: {problem}; {WAY_OUT}") from error
    return loaded, tokenizer, found["missing_keys"]


def _problem(model: Any, pooling: str, lacking: Collection[str]) -> str:
    """Return the problem of a loaded model that cannot give vectors, with a hint; empty if there is none."""
    kind = f"a model of type {model.config.model_type}"
    if model.config.is_encoder_decoder or model.main_input_name != "input_ids" or hasattr(model.config, "text_config"):
        return f"{kind} is no text encoder; {WAY_OUT}"
    other = "set embeddings.pooling to cls or mean, in config/config.yaml"
    if pooling == "pooler" and getattr(model, "pooler", None) is None:
        return f"{kind} has no pooler, which embeddings.pooling=pooler asks for; {other}"
    needed = sorted(name for name in lacking if pooling == "pooler" or not name.startswith("pooler."))
    if not needed:
        return ""
    # transformers would fill them with random numbers, different in every job
    problem = f"its weights lack {', '.join(needed[:3])}{' and others' if len(needed) > 3 else ''}"
    if all(name.startswith("pooler.") for name in needed):
        return f"{problem}, which embeddings.pooling=pooler needs: they would be random numbers; {other}"
    return f"{problem}; {WAY_OUT}"
