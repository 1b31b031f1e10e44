"""The tokenizers of the picture book, and token ids of captions and of sentences joined from several captions."""

import json
import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import BertTokenizer, CLIPTokenizer

from icsd.picturebook.phrases import NOUNS, SIZE_WORDS, captions
from icsd.picturebook.scenes import COLOURS, KINDS, SIZES
from icsd.picturebook.splits import WORLD_SEED, split_scenes

CONTEXT_LENGTH = 64  # a sentence of 50 words, its punctuation, the start and the end token
END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"
JOINERS = (", ", " and ", ", and ", " with ", " while ", ". ")  # between the captions of a sentence
CAPTIONER_PREFIX = "a picture of"  # the words that begin each of the captioner's captions


def world_texts(scenes: int = 20_000) -> list[str]:
    """Return the captions of the generator split's first scenes, and all five of each scene in one sentence."""
    groups = [captions(scene, WORLD_SEED) for scene in split_scenes("generator", scenes)]
    joined = [JOINERS[number % len(JOINERS)].join(group) for number, group in enumerate(groups)]
    return [*(caption for group in groups for caption in group), *joined]


def new_clip_tokenizer(scenes: int = 20_000) -> CLIPTokenizer:
    """Train the tokenizer that CLIP and the image model share: every word of the world is one token."""
    return train_clip_tokenizer(world_texts(scenes))


def new_bert_tokenizer(scenes: int = 20_000) -> BertTokenizer:
    """Train the captioner's tokenizer: every word of the world and of the captioner's prefix is one token."""
    return train_bert_tokenizer([*world_texts(scenes), CAPTIONER_PREFIX])


def train_clip_tokenizer(texts: Iterable[str]) -> CLIPTokenizer:
    """Train a byte-level BPE in which every word of `texts` is one token. Any other text falls back to bytes."""
    bytes_alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained = Tokenizer(BPE(end_of_word_suffix=END_OF_WORD))
    trained.pre_tokenizer = CLIPTokenizer().backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=5000, end_of_word_suffix=END_OF_WORD, show_progress=False)
    trained.train_from_iterator(texts, trainer)
    merges = [tuple(pair) for pair in _merges(trained)]
    tokens = [*bytes_alphabet, *(b + END_OF_WORD for b in bytes_alphabet)]
    tokens += [first + second for first, second in merges]
    tokens = [*dict.fromkeys(tokens), START, END]  # open_clip pools at the highest id, so the end token has it
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT_LENGTH)


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return json.loads(tokenizer.to_str())["model"]["merges"]


def train_bert_tokenizer(texts: Iterable[str]) -> BertTokenizer:
    """Build a WordPiece vocabulary of the words of `texts`, with letters, digits and punctuation for other text."""
    words = sorted({word for text in texts for word in text.lower().replace(",", " ").replace(".", " ").split()})
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [str(digit) for digit in range(10)]
    pieces = [*letters, *("##" + letter for letter in letters)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*pieces, *string.punctuation, *words])]
    return BertTokenizer(vocab={token: number for number, token in enumerate(tokens)}, model_max_length=CONTEXT_LENGTH)


def save_tokenizer(tokenizer: CLIPTokenizer | BertTokenizer, folder: Path) -> None:
    """Write the tokenizer's files."""
    tokenizer.save_pretrained(folder)


JOINED = {1: 0.3, 2: 0.25, 3: 0.25, 4: 0.2}  # captions per sentence, with their probabilities
UNLABELLED = -100


@dataclass(frozen=True)
class SentenceParts:
    """Token ids from which sentences are joined: of each picture's captions, of the joiners, of start and end."""

    ids: list[list[list[int]]]
    joiners: list[list[int]]
    start: int
    end: int


def tokenize(captions: list[list[str]], tokenizer: CLIPTokenizer) -> SentenceParts:
    """Tokenize the captions of every picture. Equal captions are tokenized once."""
    unique = sorted({caption for group in captions for caption in group})
    ids = dict(zip(unique, tokenizer(unique, add_special_tokens=False).input_ids, strict=True))
    joiners = tokenizer([joiner.strip() for joiner in JOINERS], add_special_tokens=False).input_ids
    by_picture = [[ids[caption] for caption in group] for group in captions]
    return SentenceParts(by_picture, joiners, tokenizer.bos_token_id, tokenizer.eos_token_id)


def sample_sentences(data: SentenceParts, index: np.ndarray, rng: np.random.Generator, drop: float) -> np.ndarray:
    """Return int64 [n, CONTEXT_LENGTH]: one to four joined captions of each picture. A share `drop` stays empty."""
    rows = np.full((len(index), CONTEXT_LENGTH), data.end, dtype=np.int64)
    for row, picture in zip(rows, index, strict=True):
        tokens = [data.start] if rng.random() < drop else [data.start, *_join(data, picture, rng)]
        row[: len(tokens)] = tokens[: CONTEXT_LENGTH - 1] if len(tokens) >= CONTEXT_LENGTH else tokens
    return rows


def _join(data: SentenceParts, picture: int, rng: np.random.Generator) -> list[int]:
    captions = data.ids[picture]
    count = rng.choice(list(JOINED), p=list(JOINED.values()))
    joined: list[int] = []
    for position, number in enumerate(rng.permutation(len(captions))[:count]):
        if position:
            joined += data.joiners[rng.integers(len(data.joiners))]
        joined += captions[number]
    return joined


def noun_labels(rows: np.ndarray, tokenizer: CLIPTokenizer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return kind, colour and size of each noun in int64 [n, t]: 0 if not said, UNLABELLED at other tokens."""
    word = lambda text: tokenizer(text, add_special_tokens=False).input_ids[0]  # noqa: E731
    kinds = {word(noun): KINDS.index(kind) for kind, nouns in NOUNS.items() for noun in nouns}
    colours = {word(colour): 1 + number for number, colour in enumerate(COLOURS)}
    sizes = {word(text): 1 + SIZES.index(size) for size, words in SIZE_WORDS.items() for text in words}
    labels = np.full(rows.shape, UNLABELLED), np.full(rows.shape, UNLABELLED), np.full(rows.shape, UNLABELLED)
    for row in range(len(rows)):
        colour = size = 0
        for column, token in enumerate(rows[row].tolist()):
            colour, size = colours.get(token, colour), sizes.get(token, size)
            if token in kinds:
                for label, value in zip(labels, (kinds[token], colour, size), strict=True):
                    label[row, column] = value
                colour = size = 0
    return labels
