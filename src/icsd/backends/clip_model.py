"""An open_clip model with both towers: pictures and sentences to unit vectors of one space."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from icsd.backends.open_clip_model import Tokenizer, load_open_clip
from icsd.logs import progress

T = TypeVar("T")


@dataclass(frozen=True)
class ClipModel:
    """The model in float32, its tokenizer, and what makes a tensor of a picture."""

    model: Any  # open_clip's classes come without types
    tokenizer: Tokenizer
    transform: Callable[[Image.Image], torch.Tensor]
    device: torch.device

    @torch.inference_mode()
    def pictures(self, files: Iterable[bytes], total: int, batch_size: int) -> np.ndarray:
        """Unit vectors [n, d] float32 of `total` picture files, in their order."""
        parts = []
        for batch in _batches(progress(files, total, "pictures"), batch_size):
            pixels = torch.stack([self.transform(_decode(file)) for file in batch])
            parts.append(self.model.encode_image(pixels.to(self.device), normalize=True).cpu().numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Unit vectors [n, d] float32, in the order of `texts`; what passes the model's longest text is cut."""
        parts = []
        for batch in _batches(progress(texts, len(texts), "captions"), batch_size):
            tokens = self.tokenizer(batch).to(self.device)
            parts.append(self.model.encode_text(tokens, normalize=True).cpu().numpy())
        return np.concatenate(parts)


def load_clip_model(model: str, setting: str) -> ClipModel:
    """The model of open_clip that the config's `setting` names.

    ModelError, naming the setting, if there is no such model, or if its weights are not safetensors.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded = load_open_clip(setting, model)
    transform = image_transform_v2(PreprocessCfg(**loaded.model.visual.preprocess_cfg), is_train=False)
    return ClipModel(loaded.model.eval().to(device), loaded.tokenizer, transform, device)


def _decode(file: bytes) -> Image.Image:
    with Image.open(io.BytesIO(file)) as picture:
        return picture.convert("RGB")


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
