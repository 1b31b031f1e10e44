"""The captioner's model: made anew from a vision encoder, saved, loaded, and asked for captions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertTokenizer, CLIPImageProcessor, VisionEncoderDecoderModel

from icsd.backends.model_folder import TOKENIZER_FILES, model_folder
from icsd.captioner.decoder import decoder_from, new_decoder
from icsd.captioner.loading import load_weights, loaded
from icsd.captioner.text import prompt_ids
from icsd.captioner.vision import load_vision
from icsd.config import Captioner as Settings

TOKENIZER = "captioner.tokenizer"


@dataclass(frozen=True)
class Captioner:
    """A model with all that it takes to feed it and to read its answer."""

    model: VisionEncoderDecoderModel
    tokenizer: BertTokenizer
    processor: CLIPImageProcessor

    @property
    def picture_size(self) -> int:
        """Side of the square pictures that the encoder takes, in pixels."""
        return int(self.model.config.encoder.image_size)

    def pixel_values(self, pixels: np.ndarray) -> torch.Tensor:
        """Normalised float [b, 3, size, size] of RGB uint8 [b, size, size, 3]."""
        device = self.model.device
        mean, std = (
            torch.tensor(values).to(device) for values in (self.processor.image_mean, self.processor.image_std)
        )
        # bytes go to the device, a quarter of the floats; a copy, for a mapped file can't be written to
        scaled = (torch.from_numpy(np.array(pixels)).to(device).float() / 255 - mean) / std
        return scaled.permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class Search:
    """Beam search; `min_tokens` and `max_tokens` count start mark and prefix too, as in the original."""

    beams: int
    min_tokens: int
    max_tokens: int
    batch_size: int


def new_captioner(settings: Settings, seed: int, device: torch.device) -> Captioner:
    """The vision encoder with its weights, and a decoder; what the latter does not get from a BERT, `seed` draws."""
    attention = _attention(device)
    encoder, processor = load_vision(settings.vision_model, settings.image_size, attention)
    folder = str(model_folder(TOKENIZER, settings.tokenizer, TOKENIZER_FILES))
    words = loaded(BertTokenizer, folder, TOKENIZER)
    torch.manual_seed(seed)
    if settings.decoder_weights is None:
        language = new_decoder(settings.decoder, len(words), attention)
    else:
        language = decoder_from(settings.decoder_weights, settings.decoder, len(words), attention)
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=language)
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id = words.cls_token_id
        config.eos_token_id, config.pad_token_id = words.sep_token_id, words.pad_token_id
    return Captioner(_placed(model, device), words, processor)


def load_captioner(folder: Path | str) -> Captioner:
    """A captioner as `save_captioner` wrote it, on the GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kinds = ["vision-encoder-decoder"]
    model = load_weights(VisionEncoderDecoderModel, str(folder), "checkpoint", kinds, _attention(device))
    tokenizer = loaded(BertTokenizer, str(folder), "checkpoint")
    return Captioner(_placed(model, device), tokenizer, loaded(CLIPImageProcessor, str(folder), "checkpoint"))


def save_captioner(captioner: Captioner, folder: Path) -> None:
    """A transformers folder: a VisionEncoderDecoderModel with its tokenizer and image processor."""
    captioner.model.save_pretrained(folder)
    captioner.tokenizer.save_pretrained(folder)
    captioner.processor.save_pretrained(folder)


def captions_of(
    captioner: Captioner,
    pixels: np.ndarray,
    prefix: str,
    search: Search,
    follow: Callable[[range], Any] = iter,
) -> list[str]:
    """A caption without prefix for each of `pixels` [n, size, size, 3] uint8.

    `follow` wraps the starts of the batches, to show progress.
    """
    prompt = torch.tensor([prompt_ids(captioner.tokenizer, prefix)], device=captioner.model.device)
    captions: list[str] = []
    with _evaluating(captioner.model), torch.inference_mode():
        for start in follow(range(0, len(pixels), search.batch_size)):
            batch = captioner.pixel_values(pixels[start : start + search.batch_size])
            ids = captioner.model.generate(
                pixel_values=batch,
                decoder_input_ids=prompt.expand(len(batch), -1),
                do_sample=False,
                num_beams=search.beams,
                min_length=search.min_tokens,
                max_length=search.max_tokens,
            )
            captions += captioner.tokenizer.batch_decode(ids[:, prompt.shape[1] :], skip_special_tokens=True)
    return captions


def _placed(model: VisionEncoderDecoderModel, device: torch.device) -> VisionEncoderDecoderModel:
    torch.nn.Module.to(model, device)
    return model


def _attention(device: torch.device) -> str:
    """How attention is worked out: on a CPU, written out it trains 1.7 times as fast as fused."""
    return "sdpa" if device.type == "cuda" else "eager"


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Dropout off inside, and as it was after."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
