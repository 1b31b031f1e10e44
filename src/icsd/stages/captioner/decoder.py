"""The text decoder of the paper's captioner: a BERT of new or loaded weights."""

import torch
from transformers import BertConfig, BertLMHeadModel

from icsd.config import CaptionerDecoderConfig
from icsd.core.errors import ModelError
from icsd.models.model_folder import model_folder
from icsd.stages.captioner.loading import check_kind, load_weights
from icsd.stages.captioner.text import MAX_TOKENS

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
