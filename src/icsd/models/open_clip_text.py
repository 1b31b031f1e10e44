"""The text tower of an open_clip model, on packed captions if its architecture allows it.

open_clip pads every caption to the context of 77 tokens, but a caption has about 13. PackedTower joins the captions of
a batch without padding. Only attention reads other tokens, so only attention runs caption by caption, at once for
captions of equal length. After the last attention only the pooled tokens are computed.
"""

from typing import Any

import open_clip
import torch
from open_clip.transformer import ResidualAttentionBlock, TextTransformer
from torch.nn import functional

from icsd.models.open_clip_model import Tokenizer, load_open_clip
from icsd.models.text_encoder import Tokens

POOLED_ROWS = 64  # the pooled tokens of a batch are padded to a multiple of it: see `PackedTower.vectors`


class PackedTower:
    """The text tower of an open_clip model for which `can_pack` is true, on captions without padding."""

    equal_lengths = False

    def __init__(self, model: Any, tokenizer: Any, dtype: torch.dtype) -> None:
        """Convert the model to `dtype`; for bfloat16 only the matrices, while the norms stay in float32."""
        self._text, self._tokenizer, self._dtype = _text_tower(model), tokenizer, dtype
        self._pool, self._end_mark = _pooling(model)
        if dtype == torch.bfloat16:
            for block in self._text.transformer.resblocks:
                block.attn.to(dtype)
                block.mlp.to(dtype)
        else:
            self._text.to(dtype)

    def tokens(self, texts: list[str]) -> Tokens:
        """Return the tokens of each caption up to the pooled one."""
        rows = self._tokenizer(texts).numpy()
        # the first end token is pooled: the highest of all tokens, or the one in the config
        ends = (rows if self._pool == "argmax" else rows == self._end_mark).argmax(1)
        return Tokens.cut(rows, ends + 1)

    def vectors(self, tokens: Tokens, size: int) -> torch.Tensor:
        """Compute the vectors [n, d] that `encode_text` gives.

        The tokens are padded to `size` and the pooled ones to a multiple of POOLED_ROWS. The last bits of a product
        depend on its shape, and a caption's vector must not depend on its batch.
        """
        device = self._text.positional_embedding.device
        used = len(tokens.flat)
        embedded = self._text.token_embedding(torch.from_numpy(tokens.flat).to(device))
        x = embedded + self._text.positional_embedding[torch.from_numpy(tokens.places()).to(device)]
        x = functional.pad(x, (0, 0, 0, max(0, size - used)))
        ends = torch.from_numpy(tokens.lengths.cumsum() - 1)
        ends = functional.pad(ends, (0, -len(ends) % POOLED_ROWS)).to(device)  # token 0 as padding, dropped below
        runs = list(tokens.runs())
        *blocks, last = self._text.transformer.resblocks
        for block in blocks:
            x = _rest_of_block(block, x, self._attended(block, x, runs))
        x = _rest_of_block(last, x[ends], self._attended(last, x, runs)[ends])
        return self._projected(self._text.ln_final(x))[: len(tokens.lengths)]

    def _attended(self, block: Any, x: torch.Tensor, runs: list[tuple[int, int, int]]) -> torch.Tensor:
        """Compute causal attention within each caption: the outputs of the heads [tokens, width]."""
        attention = block.attn
        heads, width = attention.num_heads, x.shape[1]
        normed = block.ln_1(x).to(self._dtype)
        three = functional.linear(normed, attention.in_proj_weight, attention.in_proj_bias)
        out = torch.zeros_like(normed)
        for start, count, length in runs:
            rows = slice(start, start + count * length)
            query, key, value = three[rows].view(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            out[rows] = seen.transpose(1, 2).reshape(count * length, width)
        return out

    def _projected(self, x: torch.Tensor) -> torch.Tensor:
        projection = self._text.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection


def _rest_of_block(block: Any, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """Compute the rest of a block after its attention; the sums keep the dtype of x."""
    x = x + block.ls_1(block.attn.out_proj(attended).to(x.dtype))
    return x + block.ls_2(block.mlp(block.ln_2(x).to(attended.dtype)).to(x.dtype))


def can_pack(model: Any) -> bool:
    """Return whether the tower is causal, of plain blocks, and pools the end token.

    Exceptions are SigLIP, which reads its padding, CoCa, which pools a token after it, and towers of transformers.
    """
    tower = _text_tower(model)
    if tower is None or _pooling(model)[0] not in ("argmax", "eos") or not _is_causal(tower.attn_mask):
        return False
    return all(_is_plain(block) for block in tower.transformer.resblocks)


def _text_tower(model: Any) -> Any:
    """Return the module with the tower's parts: a CLIP itself or a TextTransformer; None for other towers."""
    if type(model) is open_clip.CLIP:
        return model
    tower: Any = getattr(model, "text", None)
    return tower if type(tower) is TextTransformer and tower.cls_emb is None else None


def _pooling(model: Any) -> tuple[str, int]:
    """Return the kind of pooling, and the end token of the kind `eos`."""
    if type(model) is open_clip.CLIP:
        return model.text_pool_type, model.text_eos_id
    return model.text.pool_type, model.text.eos_id


def _is_causal(mask: torch.Tensor | None) -> bool:
    return mask is not None and torch.equal(mask, torch.full_like(mask, -torch.inf).triu(1))


def _is_plain(block: Any) -> bool:
    attention = getattr(block, "attn", None)
    if type(block) is not ResidualAttentionBlock or type(attention) is not torch.nn.MultiheadAttention:
        return False
    own = attention.in_proj_weight is not None and attention.bias_k is None and not attention.add_zero_attn
    return own and not hasattr(block, "ln_1_kv")


class WholeTower:
    """Any other text tower of open_clip; it reads padded captions through `encode_text`."""

    equal_lengths = True

    def __init__(self, model: torch.nn.Module, tokenizer: Tokenizer, dtype: torch.dtype) -> None:
        self._model: Any = model if dtype == torch.bfloat16 else model.to(dtype)
        self._tokenizer, self._dtype = tokenizer, dtype

    def tokens(self, texts: list[str]) -> Tokens:
        """Return the tokens of each caption, padded to the context."""
        return Tokens.of(self._tokenizer(texts).numpy())

    def vectors(self, tokens: Tokens, size: int) -> torch.Tensor:
        """Compute `encode_text`, [n, d]; bfloat16 is only used in matrix products."""
        device = next(self._model.parameters()).device
        rows = torch.from_numpy(tokens.flat.reshape(len(tokens.lengths), -1)).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16):
            return self._model.encode_text(rows)


def open_clip_tower(model: str, device: torch.device, dtype: torch.dtype) -> tuple[PackedTower | WholeTower, str]:
    """Load the tower, and hash its files.

    ModelError if there is no such model, or if its weights are not safetensors.
    """
    loaded = load_open_clip("embeddings.model", model)
    loaded.model.visual = torch.nn.Identity()  # frees the memory of its weights
    kind = PackedTower if can_pack(loaded.model) else WholeTower
    return kind(loaded.model.eval().to(device), loaded.tokenizer, dtype), loaded.digest
