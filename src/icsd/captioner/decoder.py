"""The captioner's voice: a BERT decoder with cross-attention, drawn anew or begun from a trained BERT."""

from transformers import BertConfig, BertLMHeadModel

from icsd.backends.model_folder import model_folder
from icsd.captioner.loading import check_kind, load_weights
from icsd.captioner.text import MAX_TOKENS
from icsd.config import CaptionerDecoder
from icsd.errors import ModelError

KEY = "captioner.decoder_weights"
FILES = ("config.json", "model.safetensors")  # of a repository of the hub
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
    folder = str(model_folder(KEY, model, FILES))
    config = check_kind(folder, KEY, "BertLMHeadModel", ["bert"])
    wanted = {
        "num_hidden_layers": ("captioner.decoder.layers", decoder.layers),
        "hidden_size": ("captioner.decoder.hidden", decoder.hidden),
        "num_attention_heads": ("captioner.decoder.heads", decoder.heads),
        "vocab_size": ("the words of captioner.tokenizer", vocabulary),
    }
    for name, (key, value) in wanted.items():
        found = config.get(name, getattr(BertConfig(), name))
        if found != value:
            raise ModelError(f"{KEY}={folder} has {name}={found}, but {key} is {value}: make them the same")
    return load_weights(BertLMHeadModel, folder, KEY, ["bert"], attention, new=NEW, **_as_decoder(decoder))


def _as_decoder(decoder: CaptionerDecoder) -> dict[str, object]:
    return {
        "hidden_dropout_prob": decoder.dropout,
        "attention_probs_dropout_prob": decoder.dropout,
        "is_decoder": True,
        "add_cross_attention": True,
    }
