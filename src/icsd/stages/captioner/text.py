"""Captions as the decoder sees them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import BertTokenizer

from icsd.core.errors import ModelError

MAX_TOKENS = 128  # positions of the decoder; 30 words are far fewer, unless all of them are spelled letter by letter
_PUNCTUATION = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))


@dataclass(frozen=True)
class Tokens:
    """Token ids [n, longest], padded behind each row's length, and how many leading ones are given."""

    ids: np.ndarray
    lengths: np.ndarray
    prompt: int


def clean_caption(caption: str, max_words: int) -> str:
    """The caption as the original trains on it: lower case, punctuation to spaces, few words."""
    return " ".join(caption.lower().translate(_PUNCTUATION).split()[:max_words])


def prompt_ids(tokenizer: BertTokenizer, prefix: str) -> list[int]:
    """The start mark and the tokens of the prefix: what every caption begins with and none is asked for."""
    ids = tokenizer(prefix)["input_ids"][:-1]
    if tokenizer.unk_token_id in ids:  # so is every word, where the folder holds no vocabulary
        name = f"captioner.tokenizer={tokenizer.name_or_path}"
        raise ModelError(f"{name} lacks words of captioner.prefix={prefix!r}: is it a BertTokenizer's folder?")
    return ids


def encode(captions: Sequence[str], tokenizer: BertTokenizer, prefix: str) -> Tokens:
    """Start mark, prefix, caption, end mark of each cleaned caption."""
    texts = [f"{prefix} {caption}".strip() for caption in captions]
    encoded = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS)
    lengths = np.asarray(encoded["attention_mask"]).sum(axis=1)
    return Tokens(np.asarray(encoded["input_ids"], dtype=np.int64), lengths, len(prompt_ids(tokenizer, prefix)))
