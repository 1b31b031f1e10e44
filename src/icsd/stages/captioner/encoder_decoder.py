"""The paper's captioner: a CLIP image encoder and a BERT decoder with cross-attention."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from transformers import BertLMHeadModel, BertTokenizer, CLIPImageProcessor, VisionEncoderDecoderModel

from icsd.config import CaptionerConfig
from icsd.core.errors import ModelError
from icsd.models.model_folder import TOKENIZER_FILES, model_folder
from icsd.stages.captioner.augmentation import augment
from icsd.stages.captioner.decoder import decoder_from, new_decoder
from icsd.stages.captioner.interface import FIT, IGNORED, Batch, BeamSearch
from icsd.stages.captioner.loading import attention_on, load_weights, loaded
from icsd.stages.captioner.pictures import Square
from icsd.stages.captioner.text import TokenizedCaptions, prompt_ids, start_id, tokenize
from icsd.stages.captioner.vision import load_vision, set_fit

TOKENIZER = "captioner.tokenizer"
START = "captioner.start_from"


@dataclass(frozen=True)
class EncoderDecoder:
    """The paper's captioner, with its tokenizer and image processor."""

    model: VisionEncoderDecoderModel
    tokenizer: BertTokenizer
    processor: CLIPImageProcessor
    idle_weights: ClassVar[bool] = False

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

    def of_pictures(self, name: str) -> bool:
        """Return whether a weight of this name belongs to the image encoder."""
        return name.startswith("encoder.")

    def tokenize(self, captions: Sequence[str], settings: CaptionerConfig) -> TokenizedCaptions:
        """Tokenize cleaned captions: start token, prefix, caption, end token."""
        return tokenize(captions, self.tokenizer, settings.prefix, settings.max_text_tokens)

    def batch(self, squares: np.ndarray | torch.Tensor, views: torch.Tensor | None, tokens: TokenizedCaptions) -> Batch:
        """Prepare squares [b, size, size, 3] uint8, changed by `views`, with the `tokens` of their captions."""
        device = self.model.device
        ids, mask, labels = (each.to(device) for each in decoder_batch(tokens))
        pixels = augment(self.pixel_values(squares), views)
        inputs = {"pixel_values": pixels, "decoder_input_ids": ids, "decoder_attention_mask": mask}
        return Batch({**inputs, "use_cache": False}, labels)

    def generate(self, squares: np.ndarray, prefix: str, search: BeamSearch) -> list[str]:
        """Generate a caption, without the prefix, for each of `squares` [n, size, size, 3] uint8."""
        prompt = torch.tensor([prompt_ids(self.tokenizer, prefix)], device=self.model.device)
        ids = self.model.generate(
            pixel_values=self.pixel_values(squares),
            decoder_input_ids=prompt.expand(len(squares), -1),
            do_sample=False,
            num_beams=search.beams,
            min_length=search.min_tokens,
            max_length=search.max_tokens,
        )
        return list(self.tokenizer.batch_decode(ids[:, prompt.shape[1] :], skip_special_tokens=True))

    def save(self, folder: Path) -> None:
        """Write a transformers folder: a VisionEncoderDecoderModel with its tokenizer and image processor."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.processor.save_pretrained(folder)


def new_encoder_decoder(settings: CaptionerConfig, seed: int, device: torch.device) -> EncoderDecoder:
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
    return EncoderDecoder(_placed(model, device), words, processor)


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


def load_encoder_decoder(folder: str, key: str, device: torch.device) -> EncoderDecoder:
    """Load a captioner that `EncoderDecoder.save` wrote; `key` names the folder in errors."""
    kinds = ["vision-encoder-decoder"]
    model = load_weights(VisionEncoderDecoderModel, folder, key, kinds, attention_on(device))
    tokenizer, processor = loaded(BertTokenizer, folder, key), loaded(CLIPImageProcessor, folder, key)
    return EncoderDecoder(_placed(model, device), tokenizer, processor)


def _placed(model: VisionEncoderDecoderModel, device: torch.device) -> VisionEncoderDecoderModel:
    torch.nn.Module.to(model, device)
    return model


def decoder_batch(tokens: TokenizedCaptions) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return input ids, attention mask and labels (the next tokens), each [b, longest - 1].

    The prefix and the padding have the label IGNORED; the end token counts in the loss.
    """
    ids = torch.from_numpy(tokens.ids)
    lengths = torch.from_numpy(tokens.lengths)
    longest = int(lengths.max())
    place = torch.arange(1, longest)[None]
    labels = ids[:, 1:longest].masked_fill((place < tokens.prompt) | (place >= lengths[:, None]), IGNORED)
    return ids[:, : longest - 1], (place - 1 < lengths[:, None]).long(), labels
