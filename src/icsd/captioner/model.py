"""The captioner's model: made anew from a vision encoder, saved, loaded, and asked for captions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import (
    BertConfig,
    BertLMHeadModel,
    BertTokenizer,
    CLIPImageProcessor,
    CLIPVisionModel,
    VisionEncoderDecoderModel,
)
from transformers.utils import logging as transformers_logging

from icsd.backends.model_folder import model_folder
from icsd.captioner.text import MAX_TOKENS, prompt_ids
from icsd.config import CaptionerDecoder
from icsd.errors import ModelError

# what is looked for of a repository of the hub
VISION_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
transformers_logging.disable_progress_bar()  # the job's log is read by people


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
        mean, std = (torch.tensor(values) for values in (self.processor.image_mean, self.processor.image_std))
        scaled = (torch.from_numpy(pixels).float() / 255 - mean) / std
        return scaled.permute(0, 3, 1, 2).contiguous().to(self.model.device)


@dataclass(frozen=True)
class Search:
    """Beam search; `min_tokens` and `max_tokens` count start mark and prefix too, as in the original."""

    beams: int
    min_tokens: int
    max_tokens: int
    batch_size: int


def new_captioner(vision_model: str, tokenizer: str, decoder: CaptionerDecoder, seed: int) -> Captioner:
    """The vision encoder with its weights and a decoder with weights drawn from `seed`."""
    vision_model = str(model_folder("captioner.vision_model", vision_model, VISION_FILES))
    tokenizer = str(model_folder("captioner.tokenizer", tokenizer, TOKENIZER_FILES))
    encoder = _weights(CLIPVisionModel, vision_model, "captioner.vision_model")
    processor = _loaded(CLIPImageProcessor, vision_model, "captioner.vision_model")
    words = _loaded(BertTokenizer, tokenizer, "captioner.tokenizer")
    torch.manual_seed(seed)
    language = BertLMHeadModel(_decoder_config(decoder, len(words)))
    language.set_attn_implementation(_attention())
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=language)
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id = words.cls_token_id
        config.eos_token_id, config.pad_token_id = words.sep_token_id, words.pad_token_id
    return Captioner(_placed(model), words, processor)


def load_captioner(folder: Path | str) -> Captioner:
    """A captioner as `save_captioner` wrote it."""
    model = _weights(VisionEncoderDecoderModel, str(folder), "checkpoint")
    tokenizer = _loaded(BertTokenizer, str(folder), "checkpoint")
    return Captioner(_placed(model), tokenizer, _loaded(CLIPImageProcessor, str(folder), "checkpoint"))


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


def _decoder_config(decoder: CaptionerDecoder, vocabulary: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=decoder.hidden,
        num_hidden_layers=decoder.layers,
        num_attention_heads=decoder.heads,
        intermediate_size=4 * decoder.hidden,
        hidden_dropout_prob=decoder.dropout,
        attention_probs_dropout_prob=decoder.dropout,
        max_position_embeddings=MAX_TOKENS,
        is_decoder=True,
        add_cross_attention=True,
    )


def _placed(model: VisionEncoderDecoderModel) -> VisionEncoderDecoderModel:
    """The model, on the GPU where there is one."""
    torch.nn.Module.to(model, "cuda" if torch.cuda.is_available() else "cpu")
    return model


def _attention() -> str:
    """How attention is worked out: on a CPU, written out it trains 1.7 times as fast as fused."""
    return "sdpa" if torch.cuda.is_available() else "eager"


def _weights(kind: type[Any], folder: str, key: str) -> Any:
    """A model of `kind` in float32; a missing tensor is refused, for transformers would draw it at random."""
    options = {"dtype": torch.float32, "use_safetensors": True, "attn_implementation": _attention()}
    model, info = _loaded(kind, folder, key, output_loading_info=True, **options)
    unfit = sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])])
    if unfit:
        problem = f"its weights are not those of a {kind.__name__} as its config.json says (no fitting {unfit[0]})"
        raise ModelError(f"{key}={folder}: {problem}")
    return model


def _loaded(kind: type[Any], folder: str, key: str, **options: Any) -> Any:
    """What `from_pretrained` gives, or one message for a folder that is missing, cut short or foreign."""
    try:
        return kind.from_pretrained(folder, **options)
    except (OSError, ValueError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not Path(folder).is_dir():
            reason = f"there is no such folder, and no such model on the hub ({reason})"
        raise ModelError(f"{key}={folder} can't be loaded: {reason}") from error


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Dropout off inside, and as it was after."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
