"""An open_clip model with both towers, which embed pictures and sentences as unit vectors in one space."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import open_clip
import torch
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from icsd.core.errors import ModelError
from icsd.core.files import file_sha256
from icsd.core.logs import progress
from icsd.core.pictures import read_picture
from icsd.models.model_folder import (  # fmt: skip
    TOKENIZER_FILES,
    folder_digest,
    folder_kind,
    has_vocabulary,
    is_hub_id,
    model_folder,
    not_downloaded,
)

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
HUB_FILES = (CONFIG, *WEIGHTS, *TOKENIZER_FILES)
WAY_OUT = (
    f"give a folder with {CONFIG} and {WEIGHTS[0]}, an open_clip name such as ViT-B-32/laion2b_s34b_b79k, or "
    "an id of the hub, in config/config.yaml"
)
KIND_SETTING = "embeddings.model"  # the only model whose section has a key `kind`
Tokenizer = Callable[[list[str]], torch.Tensor]


@dataclass(frozen=True)
class OpenClipModel:
    """A model in float32, its tokenizer, and the digest of its files."""

    model: Any  # open_clip's classes come without types
    tokenizer: Tokenizer
    digest: str


def load_open_clip(setting: str, model: str) -> OpenClipModel:
    """Load the model that the config's `setting` names, on the CPU.

    ModelError, naming the setting, if there is no such model, or if its weights are not safetensors.
    """
    named = model.partition("/")[0] in open_clip.list_models()
    return _load_named(setting, model) if named else _load_folder(setting, model)


def _load_folder(setting: str, model: str) -> OpenClipModel:
    if not Path(model).is_dir() and not is_hub_id(model):
        raise ModelError(f"{setting}={model}: no such folder, and no model of open_clip; {WAY_OUT}")
    folder = model_folder(setting, model, HUB_FILES)
    _check(setting, model, folder)
    # a model file is outside data: any error becomes a message with its name
    try:
        loaded, tokenizer = (
            open_clip.create_model(f"local-dir:{folder}"),
            open_clip.get_tokenizer(f"local-dir:{folder}"),
        )
    except Exception as error:
        message = f"{setting}={model}: open_clip cannot load the folder: {error}; {WAY_OUT}"
        raise ModelError(message) from error
    if isinstance(tokenizer, HFTokenizer) and not has_vocabulary(folder):
        problem = "the folder holds no tokenizer.json, and no vocabulary of another name, for its config's tokenizer"
        raise ModelError(f"{setting}={model}: {problem}; {WAY_OUT}")
    return OpenClipModel(loaded, tokenizer, folder_digest(folder))


def _check(setting: str, model: str, folder: Path) -> None:
    missing = [names for names in ((CONFIG,), WEIGHTS) if not any((folder / name).is_file() for name in names)]
    if not missing:
        return
    kind = folder_kind(folder)
    found = f", and is {kind}" if kind and CONFIG in missing[0] else ""
    hint = "set embeddings.kind to transformers, or " if "transformers" in found and setting == KIND_SETTING else ""
    lacks = " or ".join(missing[0])
    raise ModelError(f"{setting}={model}: the folder holds no {lacks}{found}; {hint}{WAY_OUT}")


def _load_named(setting: str, name: str) -> OpenClipModel:
    architecture, _, tag = name.partition("/")
    known = get_pretrained_cfg(architecture, tag)
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        problem = f"no such folder, and no model of open_clip (weights of {architecture}: {tags})"
        raise ModelError(f"{setting}={name}: {problem}; {WAY_OUT}")
    repository = known.get("hf_hub", "").rpartition("/")[0]
    try:
        weights = download_pretrained(known)  # jobs are offline, so this finds only huggingface_hub's cache
    except Exception as error:
        raise ModelError(not_downloaded(setting, name, repository)) from error
    if not weights.endswith(".safetensors"):
        problem = f"{weights} is not safetensors, and pickles are not loaded"
        raise ModelError(f"{setting}={name}: {problem}; {WAY_OUT}")
    pixels = {key: known[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in known}
    model = open_clip.create_model(
        architecture, weights, force_quick_gelu=bool(known.get("quick_gelu")), force_preprocess_cfg=pixels
    )
    return OpenClipModel(model, open_clip.get_tokenizer(architecture), file_sha256(Path(weights)))


T = TypeVar("T")


@dataclass(frozen=True)
class ClipModel:
    """A model in float32, its tokenizer, and the transform that turns a picture into a tensor."""

    model: Any  # open_clip's classes come without types
    tokenizer: Tokenizer
    transform: Callable[[Image.Image], torch.Tensor]
    device: torch.device

    @torch.inference_mode()
    def pictures(self, files: Iterable[bytes], total: int, batch_size: int) -> np.ndarray:
        """Compute unit vectors [n, d] float32 of `total` picture files, in order."""
        parts = []
        for batch in _batches(progress(files, total, "pictures"), batch_size):
            pixels = torch.stack([self.transform(read_picture(file)) for file in batch])
            parts.append(self.model.encode_image(pixels.to(self.device), normalize=True).cpu().numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Compute unit vectors [n, d] float32, in the order of `texts`; longer texts than the model reads are cut."""
        parts = []
        for batch in _batches(progress(texts, len(texts), "captions"), batch_size):
            tokens = self.tokenizer(batch).to(self.device)
            parts.append(self.model.encode_text(tokens, normalize=True).cpu().numpy())
        return np.concatenate(parts)


def load_clip_model(model: str, setting: str) -> ClipModel:
    """Load the open_clip model that the config's `setting` names, on the GPU if there is one.

    ModelError, naming the setting, if there is no such model, or if its weights are not safetensors.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded = load_open_clip(setting, model)
    transform = image_transform_v2(PreprocessCfg(**loaded.model.visual.preprocess_cfg), is_train=False)
    return ClipModel(loaded.model.eval().to(device), loaded.tokenizer, transform, device)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
