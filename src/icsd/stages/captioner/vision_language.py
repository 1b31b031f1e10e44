"""A vision-language model of transformers as captioner: any class that writes text from a picture and a prompt.

The picture and the prompt become inputs by the model's own processor; the caption's tokens follow, and only they are in
the loss. docs/decisions/0032-vision-language-captioners.md has the reasons.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from icsd.config import CaptionerConfig
from icsd.core.errors import ModelError
from icsd.models.model_folder import has_vocabulary, model_folder
from icsd.stages.captioner.augmentation import augment_squares
from icsd.stages.captioner.interface import FIT, IGNORED, Batch, BeamSearch, evaluating
from icsd.stages.captioner.loading import loaded, model_type, precision, whole_model
from icsd.stages.captioner.lora import add_adapters
from icsd.stages.captioner.pictures import Square
from icsd.stages.captioner.prompts import Prompt, prompt_of
from icsd.stages.captioner.text import TokenizedCaptions

MODEL = "captioner.model"
FILES = ("*.json", "*.jinja", "*.safetensors", "*.txt", "*.model")  # to download from the hub
SIZE, PROMPT = "picture_size", "caption_prompt"  # keys of the checkpoint's config.json, beside FIT
FREE_SIZE = 448  # pixels, of a model that takes any: a multiple of the 28 of Qwen-VL's and the 14 and 16 of others
TOWERS = {"vision_tower", "vision_model", "visual", "image_encoder", "vision_encoder", "image_tower"}
TOKEN_KINDS = ("token_type_ids", "mm_token_type_ids")  # inputs that have a number for each token: 0 for text
KINDS = {*MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES} - {"vision-encoder-decoder"}


@dataclass(frozen=True)
class VisionLanguageModel:
    """A model with its processor and its prompt; `adapters` is peft's view of the model where it trains with LoRA."""

    model: Any
    processor: Any
    square: Square
    prompt: Prompt
    adapters: Any = None
    idle_weights: ClassVar[bool] = True  # such as a pooler's

    @property
    def in_two_parts(self) -> bool:
        """Whether an encoder reads picture and prompt, and a decoder writes the caption."""
        return bool(self.model.config.is_encoder_decoder)

    @cached_property
    def arguments(self) -> frozenset[str]:
        """The names of the arguments of the model's forward."""
        return frozenset(inspect.signature(self.model.forward).parameters)

    def of_pictures(self, name: str) -> bool:
        """Return whether a weight of this name belongs to the image encoder."""
        return not TOWERS.isdisjoint(name.split("."))

    def tokenize(self, captions: Sequence[str], settings: CaptionerConfig) -> TokenizedCaptions:
        """Tokenize cleaned captions with their end token, `max_text_tokens` in all at most; the prompt is apart."""
        words, limit = self.processor.tokenizer, settings.max_text_tokens
        texts = [self.prompt.lead + caption for caption in captions]
        if self.in_two_parts:
            rows = words(texts, truncation=True, max_length=limit)["input_ids"]
        else:
            found = words(texts, truncation=True, max_length=limit - 1, add_special_tokens=False)["input_ids"]
            rows = [[*row, self.prompt.end] for row in found]
        lengths = np.asarray([len(row) for row in rows])
        ids = np.full((len(rows), lengths.max()), self.prompt.end, dtype=np.int64)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = tokens
        return TokenizedCaptions(ids, lengths, 0)

    def batch(self, squares: np.ndarray | torch.Tensor, views: torch.Tensor | None, tokens: TokenizedCaptions) -> Batch:
        """Prepare squares [b, size, size, 3] uint8, changed by `views`, with the `tokens` of their captions."""
        inputs, device = self._asked(augment_squares(squares, views)), self.model.device
        lengths = torch.from_numpy(tokens.lengths)
        longest = int(lengths.max())
        ids = torch.from_numpy(tokens.ids)[:, :longest].to(device)
        there = (torch.arange(longest)[None] < lengths[:, None]).to(device)
        labels = ids.masked_fill(~there, IGNORED)
        if self.in_two_parts:
            start = torch.full_like(ids[:, :1], self.model.generation_config.decoder_start_token_id)
            inputs["decoder_input_ids"] = torch.cat([start, ids[:, :-1]], dim=1)
        else:
            inputs = _continued(inputs, ids[:, :-1], there[:, :-1])
        options = {"logits_to_keep": longest, "use_cache": False}
        return Batch(inputs | {name: value for name, value in options.items() if name in self.arguments}, labels)

    def generate(self, squares: np.ndarray, prefix: str, search: BeamSearch) -> list[str]:
        """Generate a caption for each of `squares` [n, size, size, 3] uint8.

        The limits of tokens are the caption's own. There is no prefix: the prompt stands in its place.
        """
        inputs = self._asked(squares)
        asked = inputs["input_ids"]
        ids = self.model.generate(
            **self.prompt.for_generate(inputs),
            do_sample=False,
            num_beams=search.beams,
            min_new_tokens=search.min_tokens,
            max_new_tokens=search.max_tokens,
        )
        length = asked.shape[1]
        if not self.in_two_parts and torch.equal(ids[:, :length], asked):
            ids = ids[:, length:]
        return [text.strip() for text in self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def save(self, folder: Path) -> None:
        """Write a transformers folder of the model with its processor; adapters become part of the weights."""
        model = self.model if self.adapters is None else self.adapters.merge_and_unload(safe_merge=True)
        model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def _asked(self, squares: np.ndarray) -> dict[str, Any]:
        """The inputs of pictures and prompt, as the model's forward takes them: tensors with a row for each picture."""
        pictures = [Image.fromarray(square) for square in squares]
        found = self.processor(
            images=pictures,
            text=[self.prompt.text] * len(pictures),
            return_tensors="pt",
            **self.prompt.options,
        )
        inputs = {name: value.to(self.model.device) for name, value in found.items() if name in self.arguments}
        dtype = self.model.dtype
        inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
        return inputs if self.in_two_parts else self.prompt.opened(inputs)


def _continued(inputs: dict[str, Any], ids: torch.Tensor, there: torch.Tensor) -> dict[str, Any]:
    """Put the tokens `ids` [b, length] after those of the prompt; `there` is false for padding."""
    more = {"input_ids": ids, "attention_mask": there} | dict.fromkeys(TOKEN_KINDS, torch.zeros_like(ids))
    return {
        name: torch.cat([value, more[name].to(value.dtype)], dim=1) if name in more else value
        for name, value in inputs.items()
    }


def new_vision_language(settings: CaptionerConfig, seed: int, device: torch.device) -> VisionLanguageModel:
    """Load the model of the config; `seed` draws its adapters. ModelError for one that cannot be a captioner.

    Weights that are trained are float32. With adapters the model's own have the type of the computation.
    """
    folder = str(model_folder(MODEL, settings.model or "", FILES))
    rank = settings.lora.rank
    half = rank is not None and precision(settings, device) == "bfloat16"
    model, processor = _load(folder, MODEL, device, torch.bfloat16 if half else torch.float32)
    prompt = prompt_of(model, processor, settings.prompt, f"{MODEL}={folder}")
    size = settings.image_size or _own_size(model, processor)
    for key, value in ((SIZE, size), (FIT, settings.fit), (PROMPT, prompt.given)):
        setattr(model.config, key, value)
    torch.manual_seed(seed)
    adapters = None if rank is None else add_adapters(model, rank, settings.lora)
    captioner = VisionLanguageModel(model, processor, Square(size, settings.fit), prompt, adapters)
    check_fit(captioner, f"{MODEL}={folder}")
    return captioner


def load_vision_language(folder: str, key: str, device: torch.device) -> VisionLanguageModel:
    """Load a captioner that `VisionLanguageModel.save` wrote; `key` names the folder in errors."""
    model, processor = _load(folder, key, device, "auto" if device.type == "cuda" else torch.float32)
    config = model.config
    prompt = prompt_of(model, processor, getattr(config, PROMPT, None), f"{key}={folder}")
    square = Square(getattr(config, SIZE, None) or _own_size(model, processor), getattr(config, FIT, "crop"))
    return VisionLanguageModel(model, processor, square, prompt)


def is_vision_language(folder: str, key: str) -> bool:
    """Return whether a folder's config.json is that of a vision-language model."""
    return model_type(folder, key) in KINDS


def _load(folder: str, key: str, device: torch.device, dtype: Any) -> tuple[Any, Any]:
    """Load model and processor, without code of the folder, and drop sampling settings of the model's own."""
    found = model_type(folder, key)
    if found not in KINDS:
        problem = f"its config.json has model_type {found!r}, of which transformers has no class that captions pictures"
        way_out = "give a folder or a hub id of BLIP, GIT, Florence-2, Idefics3 and SmolVLM, Qwen-VL, LLaVA or the like"
        raise ModelError(f"{key}={folder}: {problem}; {way_out}")
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    model = whole_model(AutoModelForImageTextToText, folder, key, dtype=dtype, **options)
    processor = loaded(AutoProcessor, folder, key, **options)
    if not hasattr(processor, "image_processor") or not has_vocabulary(Path(folder)):
        problem = "beside its weights lies no image processor, or no vocabulary of a tokenizer"
        raise ModelError(f"{key}={folder}: {problem}: add its processor_config.json, tokenizer.json and the like")
    kept = {name: value for name, value in model.generation_config.to_dict().items() if name.endswith("_token_id")}
    model.generation_config = GenerationConfig(**kept)
    torch.nn.Module.to(model, device)
    return model, processor


def _own_size(model: Any, processor: Any) -> int:
    """The side in pixels of the pictures that the model was trained on; FREE_SIZE if it takes any."""
    size = getattr(getattr(model.config, "vision_config", None), "image_size", None)
    if isinstance(size, (list, tuple)):
        size = size[0]
    return int(size or getattr(getattr(processor.image_processor, "size", None), "height", None) or FREE_SIZE)


def check_fit(captioner: VisionLanguageModel, name: str) -> None:
    """ModelError unless the model reads a picture and writes a caption word by word.

    It is tried with a black and a white picture, and with two captions whose second words differ: what the model says
    of the first two words must depend on the picture and must not depend on the second word.
    """
    side, words = captioner.square.size, captioner.processor.tokenizer
    squares = np.zeros((3, side, side, 3), dtype=np.uint8)
    squares[2] = 255
    ids = np.full((3, 3), captioner.prompt.end)
    ids[1, 1] = next(number for number in range(len(words)) if number not in words.all_special_ids)
    tokens = TokenizedCaptions(ids, np.full(3, 3), 0)
    try:
        with evaluating(captioner.model), torch.no_grad():
            batch = captioner.batch(squares, None, tokens)
            logits = captioner.model(**batch.inputs).logits[:, -3:].float()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, NotImplementedError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        problem = f"it does not take a picture, a prompt and a caption as others do ({reason})"
        raise _unfit(captioner, name, problem) from error
    if logits.shape[1] < 3 or not torch.allclose(logits[0, :2], logits[1, :2], rtol=1e-2, atol=1e-2):
        raise _unfit(captioner, name, "it reads the words of a caption before it writes them")
    if torch.equal(logits[0], logits[2]):
        raise _unfit(captioner, name, "its words do not depend on the picture")


def _unfit(captioner: VisionLanguageModel, name: str, problem: str) -> ModelError:
    kind, hint = type(captioner.model).__name__, "docs/guide/training.md lists the classes that were tried"
    return ModelError(f"{name}: {kind} does not fit: {problem}; {hint}")
