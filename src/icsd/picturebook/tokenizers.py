"""The tokenizers of the small models, in the formats of the big ones: CLIP's byte-level BPE and BERT's WordPiece."""

import json
import string
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import BertTokenizer, CLIPTokenizer

from icsd.picturebook.phrases import captions
from icsd.picturebook.renders import WORLD_SEED, split_scenes

CONTEXT_LENGTH = 64  # a sentence of 50 words, its punctuation and the two marks
END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"
JOINERS = (", ", " and ", ", and ", " with ", " while ", ". ")  # how sentences of several captions are put together
CAPTIONER_PREFIX = "a picture of"  # the words that the captioner starts from


def world_texts(scenes: int = 20_000) -> list[str]:
    """The captions of the generator split's first scenes, and for each scene all five in one sentence."""
    groups = [captions(scene, WORLD_SEED) for scene in split_scenes("generator", scenes)]
    joined = [JOINERS[number % len(JOINERS)].join(group) for number, group in enumerate(groups)]
    return [*(caption for group in groups for caption in group), *joined]


def new_clip_tokenizer(scenes: int = 20_000) -> CLIPTokenizer:
    """The tokenizer that the CLIP model and the image model share: every word of the world is one token."""
    return train_clip_tokenizer(world_texts(scenes))


def new_bert_tokenizer(scenes: int = 20_000) -> BertTokenizer:
    """The captioner's tokenizer: every word of the world, and of the captioner's prefix, is one token."""
    return train_bert_tokenizer([*world_texts(scenes), CAPTIONER_PREFIX])


def train_clip_tokenizer(texts: Iterable[str]) -> CLIPTokenizer:
    """Byte-level BPE with every word of `texts` one token; any other text falls back to bytes."""
    bytes_alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained = Tokenizer(BPE(end_of_word_suffix=END_OF_WORD))
    trained.pre_tokenizer = CLIPTokenizer().backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=5000, end_of_word_suffix=END_OF_WORD, show_progress=False)
    trained.train_from_iterator(texts, trainer)
    merges = [tuple(pair) for pair in _merges(trained)]
    tokens = [*bytes_alphabet, *(b + END_OF_WORD for b in bytes_alphabet)]
    tokens += [first + second for first, second in merges]
    tokens = [*dict.fromkeys(tokens), START, END]  # the end mark must have the highest id: open_clip pools there
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT_LENGTH)


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return json.loads(tokenizer.to_str())["model"]["merges"]


def train_bert_tokenizer(texts: Iterable[str]) -> BertTokenizer:
    """WordPiece with the words of `texts`; letters, digits and punctuation for any other text."""
    words = sorted({word for text in texts for word in text.lower().replace(",", " ").replace(".", " ").split()})
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [str(digit) for digit in range(10)]
    pieces = [*letters, *("##" + letter for letter in letters)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*pieces, *string.punctuation, *words])]
    return BertTokenizer(vocab={token: number for number, token in enumerate(tokens)}, model_max_length=CONTEXT_LENGTH)


def save_tokenizer(tokenizer: CLIPTokenizer | BertTokenizer, folder: Path) -> None:
    """Write the tokenizer's files."""
    tokenizer.save_pretrained(folder)
