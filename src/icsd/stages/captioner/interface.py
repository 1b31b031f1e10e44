"""What a captioner is to its training and to those who ask it for captions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from icsd.config import CaptionerConfig
from icsd.stages.captioner.pictures import Square
from icsd.stages.captioner.text import TokenizedCaptions

FIT = "picture_fit"  # key of the checkpoint's config.json
IGNORED = -100  # label of a token that is not in the loss


@dataclass(frozen=True)
class BeamSearch:
    """Settings of the beam search; `min_tokens` and `max_tokens` include start token and prefix, as in the original."""

    beams: int
    min_tokens: int
    max_tokens: int
    batch_size: int


@dataclass(frozen=True)
class Batch:
    """Arguments of the network, and labels [b, length] of its last `length` logits.

    A label that is IGNORED is not in the loss.
    """

    inputs: Mapping[str, Any]
    labels: torch.Tensor


class Captioner(Protocol):
    """A model with its tokenizer and image processor: the paper's, or a vision-language model."""

    idle_weights: ClassVar[bool]  # whether some weights may have no gradient, which distributed training must know

    @property
    def model(self) -> Any:
        """The network, a model of transformers."""

    @property
    def square(self) -> Square:
        """How a picture becomes a square."""

    def of_pictures(self, name: str) -> bool:
        """Return whether a weight of this name belongs to the image encoder."""

    def tokenize(self, captions: Sequence[str], settings: CaptionerConfig) -> TokenizedCaptions:
        """Tokenize cleaned captions for the training."""

    def batch(self, squares: np.ndarray | torch.Tensor, views: torch.Tensor | None, tokens: TokenizedCaptions) -> Batch:
        """Prepare squares [b, size, size, 3] uint8, changed by `views`, with the `tokens` of their captions."""

    def generate(self, squares: np.ndarray, prefix: str, search: BeamSearch) -> list[str]:
        """Generate a caption, without prefix or prompt, for each of `squares` [n, size, size, 3] uint8."""

    def save(self, folder: Path) -> None:
        """Write a folder of transformers; a captioner that was saved is not trained any further."""


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Switch dropout off inside, and back afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
