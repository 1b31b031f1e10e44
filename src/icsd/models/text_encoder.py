"""Unit vectors of captions, computed by a text encoder of open_clip or transformers in batches of so many tokens."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from icsd.core.errors import ModelError
from icsd.core.logs import progress
from icsd.core.vectors import unit_on_grid
from icsd.models.devices import torch_device, torch_dtype

AT_ONCE = 4096  # captions tokenized together: open_clip's tokenizer pads them to the context


@dataclass(frozen=True)
class Tokens:
    """The tokens of n captions one after another, [sum of lengths] int64, and their lengths [n]."""

    flat: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | np.ndarray]) -> "Tokens":
        """Join one sequence of tokens for each caption."""
        parts = [np.asarray(row, dtype=np.int64) for row in rows]
        return cls(np.concatenate(parts), np.array([len(part) for part in parts]))

    @classmethod
    def cut(cls, rows: np.ndarray, lengths: np.ndarray) -> "Tokens":
        """Take the first `lengths` [n] tokens of each row of a matrix [n, context]."""
        return cls(rows[np.arange(rows.shape[1]) < lengths[:, None]], lengths)

    @classmethod
    def joined(cls, parts: Sequence["Tokens"]) -> "Tokens":
        """Join the captions of all parts, in order."""
        return cls(np.concatenate([part.flat for part in parts]), np.concatenate([part.lengths for part in parts]))

    def take(self, rows: np.ndarray) -> "Tokens":
        """Select captions, in the order of `rows`."""
        ends = self.lengths.cumsum()
        spans = zip((ends - self.lengths)[rows].tolist(), ends[rows].tolist(), strict=True)
        return Tokens(np.concatenate([self.flat[start:end] for start, end in spans]), self.lengths[rows])

    def places(self) -> np.ndarray:
        """Return the position of each token in its caption, [sum of lengths]."""
        starts = self.lengths.cumsum() - self.lengths
        return np.arange(len(self.flat)) - np.repeat(starts, self.lengths)

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Yield each run of captions of equal length: first token, number of captions, length."""
        edges = np.flatnonzero(np.diff(self.lengths, prepend=-1, append=-1))
        starts = self.lengths.cumsum() - self.lengths
        for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            yield int(starts[first]), end - first, int(self.lengths[first])


class Tower(Protocol):
    """A model that computes vectors from tokens; with `equal_lengths` a batch has captions of one length only."""

    equal_lengths: bool

    def tokens(self, texts: list[str]) -> Tokens:
        """Return the tokens of each caption that determine its vector."""
        ...

    def vectors(self, tokens: Tokens, size: int) -> torch.Tensor:
        """Compute vectors [n, d], not normalised, of a batch of at most `size` tokens."""
        ...


@dataclass(frozen=True)
class TextEncoder:
    """A text tower and its description: vectors of encoders with equal descriptions can be compared."""

    model: str
    tower: Tower
    about: dict[str, str]

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], batch_tokens: int) -> np.ndarray:
        """Compute unit vectors [n, d] float32, in the order of `texts` (n >= 1), on the grid of `icsd.core.vectors`.

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
    """Load the encoder of the config's section `embeddings`; `pooling` is only for the kind transformers.

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


def batches(lengths: np.ndarray, size: int, *, equal: bool) -> list[np.ndarray]:
    """Plan batches of rows, short captions first: at most `size` tokens, or one caption.

    With `equal` a batch has captions of one length only, so that none needs padding.
    """
    order = np.argsort(lengths, kind="stable")
    found, start, tokens = [], 0, 0
    for end, length in enumerate(lengths[order].tolist()):
        other = equal and length != lengths[order[start]]
        if end > start and (tokens + length > size or other):
            found.append(order[start:end])
            start, tokens = end, 0
        tokens += length
    return [*found, order[start:]]
