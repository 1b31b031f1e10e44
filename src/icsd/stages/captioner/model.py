"""The captioner's model: build it from a vision encoder, save it, load it, generate captions."""

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

from icsd.config import CaptionerConfig, CaptionerDecoderConfig
from icsd.config.captioner import Fit
from icsd.core.errors import ModelError
from icsd.models.model_folder import TOKENIZER_FILES, model_folder
from icsd.stages.captioner.pictures import Square
from icsd.stages.captioner.text import MAX_TOKENS, prompt_ids, start_id

transformers_logging.disable_progress_bar()  # people read the job's log
transformers_logging.set_verbosity_error()  # it also warns of tensors that may be missing


def load_weights(
    kind: type[Any],
    folder: str,
    key: str,
    kinds: Sequence[str],
    attention: str,
    new: Sequence[str] = (),
    **options: Any,
) -> Any:
    """Load a model of class `kind` in float32 from a folder whose config.json has one of the model types `kinds`.

    ModelError for a missing tensor, which transformers would fill with random numbers. Tensors with one of `new` in
    their name may be missing.
    """
    check_kind(folder, key, kind.__name__, kinds)
    options |= {"dtype": torch.float32, "use_safetensors": True, "attn_implementation": attention}
    model, info = loaded(kind, folder, key, output_loading_info=True, **options)
    unfit = sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])])
    unfit = [name for name in unfit if not any(part in name for part in new)]
    if unfit:
        problem = f"its weights are not those of a {kind.__name__} as its config.json says (no fitting {unfit[0]})"
        raise ModelError(f"{key}={folder}: {problem}")
    return model


def check_kind(folder: str, key: str, wanted: str, kinds: Sequence[str]) -> dict[str, Any]:
    """Read config.json; ModelError unless its model_type is one of `kinds`: transformers only warns."""
    config, _ = loaded(PreTrainedConfig, folder, key, "get_config_dict")
    found = config.get("model_type")
    if found not in kinds:
        problem = f"its config.json has model_type {found!r}, which is no {wanted} ({' or '.join(kinds)})"
        raise ModelError(f"{key}={folder}: {problem}; give a folder or a hub id of that kind")
    return dict(config)


def loaded(kind: type[Any], folder: str, key: str, method: str = "from_pretrained", **options: Any) -> Any:
    """Call `from_pretrained`; ModelError for a folder that is damaged or of another kind."""
    try:
        return getattr(kind, method)(folder, **options)
    except (OSError, ValueError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{key}={folder} can't be loaded: {reason}") from error


VISION_KEY = "captioner.vision_model"
VISION_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")  # to download from the hub
KINDS = ("clip_vision_model", "clip")  # the second is a whole CLIP, of which only the vision tower is used


def load_vision(model: str, size: int | None, attention: str) -> tuple[CLIPVisionModel, CLIPImageProcessor]:
    """Load the encoder and its image processor for pictures of `size` pixels, None for the model's own size."""
    folder = str(model_folder(VISION_KEY, model, VISION_FILES))
    processor = loaded(CLIPImageProcessor, folder, VISION_KEY)
    encoder = load_weights(CLIPVisionModel, folder, VISION_KEY, KINDS, attention)
    if size is not None and size != encoder.config.image_size:
        encoder = resized(encoder, size)
        processor.size = {"shortest_edge": size}
        processor.crop_size = {"height": size, "width": size}
    # the decoder does not read the pooled output: distributed training would wait for the gradient of its norm
    encoder.post_layernorm.requires_grad_(False)
    return encoder, processor


def set_fit(processor: CLIPImageProcessor, size: int, fit: Fit) -> None:
    """Make transformers' processor fit pictures as `Square` does; it pads where it crops a picture that is smaller."""
    if fit == "crop":  # its own
        return
    processor.size = {"height": size, "width": size} if fit == "squash" else {"max_height": size, "max_width": size}
    processor.do_center_crop, processor.crop_size = fit == "pad", {"height": size, "width": size}


def resized(encoder: CLIPVisionModel, size: int) -> CLIPVisionModel:
    """Copy an encoder for pictures of `size` pixels, with interpolated position embeddings."""
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
    """Interpolate position embeddings [1 + n², d] to [1 + side², d]: bicubic; the class token's stays as it is.

    The numbers equal those of transformers' interpolate_pos_encoding, which computes them at every step.
    """
    known = round((len(positions) - 1) ** 0.5)
    grid = positions[1:].reshape(1, known, known, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], grid.permute(0, 2, 3, 1).reshape(side * side, -1)])


DECODER_KEY = "captioner.decoder_weights"
DECODER_FILES = ("config.json", "model.safetensors")  # to download from the hub
NEW = "crossattention"  # a BERT has none: always initialised at random
HEAD = "cls.predictions"  # a BertModel has none


def new_decoder(decoder: CaptionerDecoderConfig, vocabulary: int, attention: str) -> BertLMHeadModel:
    """Build a decoder of `vocabulary` words with random weights from torch's generator."""
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


def decoder_from(
    model: str, decoder: CaptionerDecoderConfig, vocabulary: int, attention: str, *, random_head: bool = False
) -> BertLMHeadModel:
    """Load a trained BERT with its language head, or with a random one; its cross-attention is random.

    Random weights come from torch's generator. ModelError if the BERT's shape differs from the config's, or its
    vocabulary from the tokenizer's.
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
    new = (NEW, HEAD) if random_head else (NEW,)
    language = load_weights(BertLMHeadModel, folder, DECODER_KEY, ["bert"], attention, new, **_as_decoder(decoder))
    if random_head:
        _draw_head(language)
    return language


def _draw_head(language: BertLMHeadModel) -> None:
    """Draw the head's transform and bias as a new BERT's; its matrix stays that of the word embeddings."""
    head = language.cls.predictions
    torch.nn.init.normal_(head.transform.dense.weight, std=language.config.initializer_range)
    head.transform.LayerNorm.reset_parameters()
    for bias in (head.transform.dense.bias, head.bias):
        torch.nn.init.zeros_(bias)


def _as_decoder(decoder: CaptionerDecoderConfig) -> dict[str, object]:
    return {
        "hidden_dropout_prob": decoder.dropout,
        "attention_probs_dropout_prob": decoder.dropout,
        "is_decoder": True,
        "add_cross_attention": True,
    }


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
    attention = _attention(device)
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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kinds = ["vision-encoder-decoder"]
    model = load_weights(VisionEncoderDecoderModel, str(folder), "checkpoint", kinds, _attention(device))
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
    return captions


def _placed(model: VisionEncoderDecoderModel, device: torch.device) -> VisionEncoderDecoderModel:
    torch.nn.Module.to(model, device)
    return model


def _attention(device: torch.device) -> str:
    """Choose the implementation of attention: on a CPU `eager` trains 1.7 times as fast as `sdpa`."""
    return "sdpa" if device.type == "cuda" else "eager"


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Switch dropout off inside, and back afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
