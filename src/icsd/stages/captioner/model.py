"""The captioner's model: build it from a vision encoder, save it, load it, generate captions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertLMHeadModel, BertTokenizer, CLIPImageProcessor, VisionEncoderDecoderModel

from icsd.config import CaptionerConfig
from icsd.core.errors import ModelError
from icsd.core.languages import without_inner_spaces
from icsd.models.model_code import check_no_code
from icsd.models.model_folder import TOKENIZER_FILES, model_folder
from icsd.stages.captioner.decoder import decoder_from, new_decoder
from icsd.stages.captioner.loading import attention_on, load_weights, loaded
from icsd.stages.captioner.pictures import Square
from icsd.stages.captioner.text import prompt_ids, start_id
from icsd.stages.captioner.vision import load_vision, set_fit

TOKENIZER = "captioner.tokenizer"
FIT = "picture_fit"  # key of the checkpoint's config.json
START = "captioner.start_from"


@dataclass(frozen=True)
class Captioner:
    """A model with its tokenizer and image processor."""

    model: VisionEncoderDecoderModel
    tokenizer: BertTokenizer
    processor: CLIPImageProcessor

    @property
    def picture_size(self) -> int:
        """Side of the square pictures that the encoder takes, in pixels."""
        return int(self.model.config.encoder.image_size)

    @property
    def square(self) -> Square:
        """How a picture becomes a square; checkpoints from before `fit` crop."""
        return Square(self.picture_size, getattr(self.model.config, FIT, "crop"))

    def pixel_values(self, pixels: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Normalise RGB uint8 [b, size, size, 3] to float [b, 3, size, size]."""
        device = self.model.device
        mean, std = (
            torch.tensor(values).to(device) for values in (self.processor.image_mean, self.processor.image_std)
        )
        # uint8 moves to the device: a quarter of the bytes; copied, because torch wants a writable array
        raw = pixels if isinstance(pixels, torch.Tensor) else torch.from_numpy(np.array(pixels))
        scaled = (raw.to(device).float() / 255 - mean) / std
        return scaled.permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class BeamSearch:
    """Settings of the beam search; `min_tokens` and `max_tokens` include start token and prefix, as in the original."""

    beams: int
    min_tokens: int
    max_tokens: int
    batch_size: int


def new_captioner(settings: CaptionerConfig, seed: int, device: torch.device) -> Captioner:
    """Build a captioner from the vision encoder and a decoder; `seed` draws the weights that are not loaded."""
    attention = attention_on(device)
    encoder, processor = load_vision(settings.vision_model, settings.image_size, attention)
    set_fit(processor, encoder.config.image_size, settings.fit)
    folder = str(model_folder(TOKENIZER, settings.tokenizer, TOKENIZER_FILES))
    words = loaded(BertTokenizer, folder, TOKENIZER)
    torch.manual_seed(seed)
    language = _language_model(settings, len(words), attention)
    if settings.start_token is not None:
        words.add_special_tokens({"bos_token": settings.start_token})
    if len(words) > language.config.vocab_size:  # a start token that the tokenizer lacked
        language.resize_token_embeddings(len(words), mean_resizing=False)
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=language)
    setattr(model.config, FIT, settings.fit)
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id = start_id(words)
        config.eos_token_id, config.pad_token_id = words.sep_token_id, words.pad_token_id
    if settings.start_from is not None:
        _load_start(model, words, settings.start_from)
    return Captioner(_placed(model, device), words, processor)


def _load_start(model: VisionEncoderDecoderModel, words: BertTokenizer, folder: str) -> None:
    """Give `model` the weights of the captioner in `folder`; ModelError if its shape or its vocabulary is another."""
    kinds, attention = ["vision-encoder-decoder"], model.config._attn_implementation
    found = load_weights(VisionEncoderDecoderModel, folder, START, kinds, attention).state_dict()
    wanted = model.state_dict()
    for name in sorted({*found, *wanted}):
        shapes = [str(list(weights[name].shape)) if name in weights else "missing" for weights in (found, wanted)]
        if shapes[0] != shapes[1]:
            hint = "give captioner.vision_model, image_size, decoder and start_token of its training"
            raise ModelError(f"{START}={folder}: {name} is {shapes[0]}, and {shapes[1]} is wanted: {hint}")
    if loaded(BertTokenizer, folder, START).get_vocab() != words.get_vocab():
        raise ModelError(f"{START}={folder}: its vocabulary is another than that of captioner.tokenizer: give its own")
    model.load_state_dict(found)


def _language_model(settings: CaptionerConfig, vocabulary: int, attention: str) -> BertLMHeadModel:
    if settings.decoder_weights is None:
        return new_decoder(settings.decoder, vocabulary, attention)
    random_head = settings.decoder_head == "random"
    return decoder_from(settings.decoder_weights, settings.decoder, vocabulary, attention, random_head=random_head)


def load_captioner(folder: Path | str) -> Captioner:
    """Load a captioner that `save_captioner` wrote, on the GPU if there is one."""
    check_no_code("checkpoint", Path(folder))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kinds = ["vision-encoder-decoder"]
    model = load_weights(VisionEncoderDecoderModel, str(folder), "checkpoint", kinds, attention_on(device))
    tokenizer = loaded(BertTokenizer, str(folder), "checkpoint")
    return Captioner(_placed(model, device), tokenizer, loaded(CLIPImageProcessor, str(folder), "checkpoint"))


def save_captioner(captioner: Captioner, folder: Path) -> None:
    """Write a transformers folder: a VisionEncoderDecoderModel with its tokenizer and image processor."""
    captioner.model.save_pretrained(folder)
    captioner.tokenizer.save_pretrained(folder)
    captioner.processor.save_pretrained(folder)


def generate_captions(
    captioner: Captioner,
    pixels: np.ndarray,
    prefix: str,
    search: BeamSearch,
    follow: Callable[[range], Any] = iter,
) -> list[str]:
    """Generate a caption, without the prefix, for each of `pixels` [n, size, size, 3] uint8.

    `follow` wraps the first numbers of the batches to show progress.
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
    return list(map(without_inner_spaces, captions))  # BertTokenizer writes spaces between ideographs


def _placed(model: VisionEncoderDecoderModel, device: torch.device) -> VisionEncoderDecoderModel:
    torch.nn.Module.to(model, device)
    return model


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Switch dropout off inside, and back afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
