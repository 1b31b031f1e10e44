"""Captions to unit vectors, by any text encoder: one of open_clip, or one of transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from icsd.core.errors import ModelError
from icsd.core.logs import progress
from icsd.core.vectors import unit_on_grid
from icsd.models.devices import torch_device, torch_dtype
from icsd.models.token_batches import Tokens, batches

AT_ONCE = 4096  # captions tokenized at once: open_clip's tokenizer pads all to the context


class Tower(Protocol):
    """What gives vectors for tokens; `equal_lengths`: only for captions of equal length at once."""

    equal_lengths: bool

    def tokens(self, texts: list[str]) -> Tokens:
        """The tokens of each caption that its vector depends on."""
        ...

    def vectors(self, tokens: Tokens, size: int) -> torch.Tensor:
        """Vectors [n, d] of a batch of about `size` tokens, of any length."""
        ...


@dataclass(frozen=True)
class TextEncoder:
    """A text tower, and what it is: of two encoders that say the same of themselves the vectors can be compared."""

    model: str
    tower: Tower
    about: dict[str, str]

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], batch_tokens: int) -> np.ndarray:
        """Unit vectors [n, d] float32, in the order of `texts` (n >= 1), on the grid of `icsd.core.vectors`.

        ModelError if a vector has no direction: zero, infinite or not a number.
        """
        tokens = Tokens.joined(
            [self.tower.tokens(list(texts[at : at + AT_ONCE])) for at in range(0, len(texts), AT_ONCE)]
        )
        self._refuse(tokens.lengths == 0, texts, "its tokenizer gives no token")
        size = max(batch_tokens, int(tokens.lengths.max()))
        planned = batches(tokens.lengths, size, equal=self.tower.equal_lengths)
        parts = [
            self.tower.vectors(tokens.take(rows), size).to("cpu", torch.float64).numpy()
            for rows in progress(planned, len(planned), "batches of captions")
        ]
        vectors = np.concatenate(parts)[np.argsort(np.concatenate(planned))]
        lengths = np.linalg.norm(vectors, axis=1)
        self._refuse(~(np.isfinite(lengths) & (lengths > 0)), texts, "it gives no vector of a finite length")
        return unit_on_grid(vectors)

    def _refuse(self, wrong: np.ndarray, texts: Sequence[str], problem: str) -> None:
        if wrong.any():
            text = texts[int(wrong.argmax())][:60]
            way_out = "give another model, in config/config.yaml"
            raise ModelError(f"embeddings.model={self.model}: {problem} for the caption {text!r}; {way_out}")


def load_text_encoder(
    model: str, kind: str = "open_clip", pooling: str | None = None, precision: str = "float64", device: str = "auto"
) -> TextEncoder:
    """The encoder of the config's section `embeddings`; `pooling` is for the kind transformers alone.

    ModelError if there is no such model, or one of another kind; ConfigError for a device that is not there.
    """
    place = torch_device("embeddings.device", device)
    dtype = torch_dtype("embeddings.precision", precision, place)
    about = {"kind": kind, "model": model, "precision": str(dtype).removeprefix("torch.")}
    # late: each library takes seconds to import
    if kind == "open_clip":
        from icsd.models.open_clip_text import open_clip_tower

        tower: Tower
        tower, digest = open_clip_tower(model, place, dtype)
    else:
        from icsd.models.transformers_encoder import transformers_tower

        about["pooling"] = pooling or "pooler"
        tower, digest = transformers_tower(model, about["pooling"], place, dtype)
    return TextEncoder(model, tower, about | {"files": digest})
