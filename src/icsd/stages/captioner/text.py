"""Cleaning and tokenization of captions for the decoder."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import BertTokenizer

from icsd.core.errors import ConfigError, ModelError
from icsd.core.languages import ENGLISH, words

MAX_TOKENS = 128  # positions of the decoder; 30 words are far fewer, unless all of them are spelled letter by letter
_PUNCTUATION = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))


@dataclass(frozen=True)
class TokenizedCaptions:
    """Token ids [n, longest], padded at the end of each row, their lengths [n], and the number of prompt tokens."""

    ids: np.ndarray
    lengths: np.ndarray
    prompt: int


def clean_caption(caption: str, max_words: int, language: str = ENGLISH) -> str:
    """Clean a caption as the original does: lower case, spaces for punctuation, at most `max_words` words.

    In other languages case stays, which their tokenizers lower or not, and words are ICU's.
    """
    if language != ENGLISH:
        return " ".join(words(caption, language)[:max_words])
    return " ".join(caption.lower().translate(_PUNCTUATION).split()[:max_words])


def start_id(tokenizer: BertTokenizer) -> int:
    """Return the id of the start token: the tokenizer's bos_token, or [CLS] without one."""
    found: int = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return found


def prompt_ids(tokenizer: BertTokenizer, prefix: str) -> list[int]:
    """Return the start token and the tokens of the prefix, with which every caption begins."""
    ids = tokenizer(prefix)["input_ids"][:-1]
    if tokenizer.unk_token_id in ids:  # without a vocabulary, every word is unknown
        name = f"captioner.tokenizer={tokenizer.name_or_path}"
        raise ModelError(f"{name} lacks words of captioner.prefix={prefix!r}: is it a BertTokenizer's folder?")
    return [start_id(tokenizer), *ids[1:]]


def tokenize(
    captions: Sequence[str], tokenizer: BertTokenizer, prefix: str, max_tokens: int = MAX_TOKENS
) -> TokenizedCaptions:
    """Tokenize cleaned captions: start token, prefix, caption, end token, `max_tokens` in all at most.

    ConfigError if these leave no token for a caption.
    """
    prompt = len(prompt_ids(tokenizer, prefix))
    if max_tokens < prompt + 2:
        problem = f"captioner.max_text_tokens={max_tokens} leaves no token for a caption"
        taken = f"start token and prefix take {prompt}, the end 1"
        raise ConfigError(f"{problem}: {taken}; give {prompt + 2} or more, in config/config.yaml")
    texts = [f"{prefix} {caption}".strip() for caption in captions]
    encoded = tokenizer(texts, padding=True, truncation=True, max_length=max_tokens)
    lengths = np.asarray(encoded["attention_mask"]).sum(axis=1)
    ids = np.asarray(encoded["input_ids"], dtype=np.int64)
    ids[:, 0] = start_id(tokenizer)
    return TokenizedCaptions(ids, lengths, prompt)
