"""The captioner's model: made anew from a vision encoder, saved, loaded, and asked for captions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch.nn import functional
from transformers import (
    BertConfig,
    BertLMHeadModel,
    BertTokenizer,
    CLIPImageProcessor,
    CLIPVisionModel,
    PreTrainedConfig,
    VisionEncoderDecoderModel,
)
from transformers.utils import logging as transformers_logging

from icsd.config import Captioner as Settings
from icsd.config import CaptionerDecoder
from icsd.core.errors import ModelError
from icsd.models.model_folder import TOKENIZER_FILES, model_folder
from icsd.stages.captioner.text import MAX_TOKENS, prompt_ids

transformers_logging.disable_progress_bar()  # the job's log is read by people
transformers_logging.set_verbosity_error()  # it lists the tensors that are missing: those that may be, too


def load_weights(
    kind: type[Any], folder: str, key: str, kinds: Sequence[str], attention: str, new: str | None = None, **options: Any
) -> Any:
    """A model of `kind` in float32, from a folder whose config.json has one of the model types `kinds`.

    A missing tensor is refused, for transformers would draw it at random; those with `new` in their name may be.
    """
    check_kind(folder, key, kind.__name__, kinds)
    options |= {"dtype": torch.float32, "use_safetensors": True, "attn_implementation": attention}
    model, info = loaded(kind, folder, key, output_loading_info=True, **options)
    unfit = sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])])
    unfit = [name for name in unfit if new is None or new not in name]
    if unfit:
        problem = f"its weights are not those of a {kind.__name__} as its config.json says (no fitting {unfit[0]})"
        raise ModelError(f"{key}={folder}: {problem}")
    return model


def check_kind(folder: str, key: str, wanted: str, kinds: Sequence[str]) -> dict[str, Any]:
    """The values of config.json; ModelError unless its model_type is one of `kinds`: transformers only warns."""
    config, _ = loaded(PreTrainedConfig, folder, key, "get_config_dict")
    found = config.get("model_type")
    if found not in kinds:
        problem = f"its config.json has model_type {found!r}, which is no {wanted} ({' or '.join(kinds)})"
        raise ModelError(f"{key}={folder}: {problem}; give a folder or a hub id of that kind")
    return dict(config)


def loaded(kind: type[Any], folder: str, key: str, method: str = "from_pretrained", **options: Any) -> Any:
    """What `from_pretrained` gives, or one message for a folder that is cut short or foreign."""
    try:
        return getattr(kind, method)(folder, **options)
    except (OSError, ValueError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{key}={folder} can't be loaded: {reason}") from error


VISION_KEY = "captioner.vision_model"
VISION_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")  # of a repository of the hub
KINDS = ("clip_vision_model", "clip")  # of the second, a whole CLIP, the vision tower is taken


def load_vision(model: str, size: int | None, attention: str) -> tuple[CLIPVisionModel, CLIPImageProcessor]:
    """The encoder and the preparation of its pictures, both for pictures of `size` pixels; None: the model's own."""
    folder = str(model_folder(VISION_KEY, model, VISION_FILES))
    processor = loaded(CLIPImageProcessor, folder, VISION_KEY)
    encoder = load_weights(CLIPVisionModel, folder, VISION_KEY, KINDS, attention)
    if size is not None and size != encoder.config.image_size:
        encoder = resized(encoder, size)
        processor.size = {"shortest_edge": size}
        processor.crop_size = {"height": size, "width": size}
    # the norm of the pooled output, which the decoder does not read: processes that train together would wait for
    # its gradient
    encoder.post_layernorm.requires_grad_(False)
    return encoder, processor


def resized(encoder: CLIPVisionModel, size: int) -> CLIPVisionModel:
    """A copy for pictures of `size` pixels: the same weights, the position embeddings interpolated once."""
    patch = encoder.config.patch_size
    if size % patch:
        raise ModelError(f"captioner.image_size={size} must be a multiple of the vision model's patches ({patch})")
    config = type(encoder.config)(**{**encoder.config.to_dict(), "image_size": size})
    weights = encoder.state_dict()
    name = "embeddings.position_embedding.weight"
    weights[name] = interpolated(weights[name], size // patch)
    wider = CLIPVisionModel(config)
    wider.set_attn_implementation(encoder.config._attn_implementation)
    wider.load_state_dict(weights, strict=True)
    return wider


def interpolated(positions: torch.Tensor, side: int) -> torch.Tensor:
    """Position embeddings [1 + side², d] from those [1 + n², d] of another grid: bicubic, the class token's as it is.

    The same numbers as transformers' interpolate_pos_encoding, which works them out anew at every step.
    """
    known = round((len(positions) - 1) ** 0.5)
    grid = positions[1:].reshape(1, known, known, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], grid.permute(0, 2, 3, 1).reshape(side * side, -1)])


DECODER_KEY = "captioner.decoder_weights"
DECODER_FILES = ("config.json", "model.safetensors")  # of a repository of the hub
NEW = "crossattention"  # what a BERT has not: drawn anew in either case


def new_decoder(decoder: CaptionerDecoder, vocabulary: int, attention: str) -> BertLMHeadModel:
    """A decoder of `vocabulary` words, all of its weights from torch's generator."""
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=decoder.hidden,
        num_hidden_layers=decoder.layers,
        num_attention_heads=decoder.heads,
        intermediate_size=4 * decoder.hidden,
        max_position_embeddings=MAX_TOKENS,
        **_as_decoder(decoder),
    )
    model = BertLMHeadModel(config)
    model.set_attn_implementation(attention)
    return model


def decoder_from(model: str, decoder: CaptionerDecoder, vocabulary: int, attention: str) -> BertLMHeadModel:
    """A trained BERT with its language head; the cross-attention that it lacks comes from torch's generator.

    ModelError where it has another shape than the config says, or another vocabulary than the tokenizer.
    """
    folder = str(model_folder(DECODER_KEY, model, DECODER_FILES))
    config = check_kind(folder, DECODER_KEY, "BertLMHeadModel", ["bert"])
    wanted = {
        "num_hidden_layers": ("captioner.decoder.layers", decoder.layers),
        "hidden_size": ("captioner.decoder.hidden", decoder.hidden),
        "num_attention_heads": ("captioner.decoder.heads", decoder.heads),
        "vocab_size": ("the words of captioner.tokenizer", vocabulary),
    }
    for name, (key, value) in wanted.items():
        found = config.get(name, getattr(BertConfig(), name))
        if found != value:
            raise ModelError(f"{DECODER_KEY}={folder} has {name}={found}, but {key} is {value}: make them the same")
    return load_weights(BertLMHeadModel, folder, DECODER_KEY, ["bert"], attention, new=NEW, **_as_decoder(decoder))


def _as_decoder(decoder: CaptionerDecoder) -> dict[str, object]:
    return {
        "hidden_dropout_prob": decoder.dropout,
        "attention_probs_dropout_prob": decoder.dropout,
        "is_decoder": True,
        "add_cross_attention": True,
    }


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
