"""The captioner: build a new one by the config, load a trained one, caption pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from icsd.config import CaptionerConfig
from icsd.core.languages import without_inner_spaces
from icsd.models.model_code import check_no_code
from icsd.stages.captioner.encoder_decoder import load_encoder_decoder, new_encoder_decoder
from icsd.stages.captioner.interface import BeamSearch, Captioner, evaluating
from icsd.stages.captioner.pictures import Squares
from icsd.stages.captioner.vision_language import is_vision_language, load_vision_language, new_vision_language

CHECKPOINT = "checkpoint"


def new_captioner(settings: CaptionerConfig, seed: int, device: torch.device) -> Captioner:
    """Build the captioner of the config; `seed` draws the weights that are not loaded."""
    if settings.model is not None:
        return new_vision_language(settings, seed, device)
    return new_encoder_decoder(settings, seed, device)


def load_captioner(folder: Path | str) -> Captioner:
    """Load a captioner that `Captioner.save` wrote, on the GPU if there is one."""
    check_no_code(CHECKPOINT, Path(folder))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if is_vision_language(str(folder), CHECKPOINT):
        return load_vision_language(str(folder), CHECKPOINT, device)
    return load_encoder_decoder(str(folder), CHECKPOINT, device)


def generate_captions(
    captioner: Captioner,
    pixels: np.ndarray | Squares,
    prefix: str,
    search: BeamSearch,
    follow: Callable[[range], Any] = iter,
) -> list[str]:
    """Generate a caption, without the prefix, for each of `pixels` [n, size, size, 3] uint8.

    Squares are decoded a batch at a time. `follow` wraps the first numbers of the batches to show progress.
    """
    captions: list[str] = []
    with evaluating(captioner.model), torch.inference_mode():
        for start in follow(range(0, len(pixels), search.batch_size)):
            captions += captioner.generate(pixels[start : start + search.batch_size], prefix, search)
    return list(map(without_inner_spaces, captions))  # BertTokenizer writes spaces between ideographs
