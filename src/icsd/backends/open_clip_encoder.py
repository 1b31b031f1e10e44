"""The text tower of an open_clip model."""

from typing import Any

import torch

from icsd.backends.open_clip_model import Tokenizer, load_open_clip
from icsd.backends.packed_tower import PackedTower, can_pack
from icsd.backends.token_batches import Tokens


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


def open_clip_tower(model: str, device: torch.device, dtype: torch.dtype) -> tuple[PackedTower | WholeTower, str]:
    """The tower, and the digest of the files that it is made of.

    ModelError if there is no such model, or if its weights are not safetensors.
    """
    loaded = load_open_clip("embeddings.model", model)
    loaded.model.visual = torch.nn.Identity()  # or its weights would take memory
    kind = PackedTower if can_pack(loaded.model) else WholeTower
    return kind(loaded.model.eval().to(device), loaded.tokenizer, dtype), loaded.digest
