"""An open_clip model with both towers: pictures and sentences to unit vectors of one space."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import open_clip
import torch
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from icsd.errors import ModelError
from icsd.logs import progress

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
WAY_OUT = (
    f"give a folder with {CONFIG} and {WEIGHTS}, or an open_clip name such as ViT-B-32/openai, in config/config.yaml"
)

T = TypeVar("T")


@dataclass(frozen=True)
class ClipModel:
    """The model in float32, its tokenizer, and what makes a tensor of a picture."""

    model: Any  # open_clip's classes come without types
    tokenizer: Callable[[list[str]], torch.Tensor]
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
    """The model in the folder `model`, or open_clip's own of the name `<architecture>/<pretrained>`.

    ModelError, naming the config's `setting`, if there is neither, or if the weights are not safetensors.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded, tokenizer = _of_folder(Path(model), setting) if Path(model).is_dir() else _of_name(model, setting)
    transform = image_transform_v2(PreprocessCfg(**loaded.visual.preprocess_cfg), is_train=False)
    return ClipModel(loaded.eval().to(device), tokenizer, transform, device)


def _of_folder(folder: Path, setting: str) -> tuple[Any, Callable[[list[str]], torch.Tensor]]:
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{setting}={folder}: the folder holds no {name}; {WAY_OUT}")
    # a model file is outside data: whatever is wrong with it, the user needs its name and what was found
    try:
        return open_clip.create_model(f"local-dir:{folder}"), open_clip.get_tokenizer(f"local-dir:{folder}")
    except Exception as error:
        raise ModelError(f"{setting}={folder}: open_clip cannot load the folder: {error}; {WAY_OUT}") from error


def _of_name(name: str, setting: str) -> tuple[Any, Callable[[list[str]], torch.Tensor]]:
    architecture, _, tag = name.partition("/")
    known = get_pretrained_cfg(architecture, tag) if architecture in open_clip.list_models() else None
    if not known:
        raise ModelError(f"{setting}={name}: no such folder, and no model of open_clip; {WAY_OUT}")
    try:
        weights = download_pretrained(known)
    except Exception as error:
        raise ModelError(f"{setting}={name}: open_clip cannot fetch the weights: {error}; {WAY_OUT}") from error
    if not weights.endswith(".safetensors"):
        raise ModelError(f"{setting}={name}: {weights} is not safetensors, and pickles are not loaded; {WAY_OUT}")
    pixels = {key: known[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in known}
    model = open_clip.create_model(
        architecture, weights, force_quick_gelu=bool(known.get("quick_gelu")), force_preprocess_cfg=pixels
    )
    return model, open_clip.get_tokenizer(architecture)


def _decode(file: bytes) -> Image.Image:
    with Image.open(io.BytesIO(file)) as picture:
        return picture.convert("RGB")


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
