"""Token ids of captions and of sentences joined from several captions, as the small image model reads them."""

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
from icsd.picturebook.renders import WORLD_SEED, split_scenes
from icsd.picturebook.scenes import COLOURS, KINDS, SIZES

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


JOINED = {1: 0.3, 2: 0.25, 3: 0.25, 4: 0.2}  # captions a sentence
UNLABELLED = -100


@dataclass(frozen=True)
class TokenizedCaptions:
    """For each picture its captions' token ids, without marks, and the joiners' ids."""

    ids: list[list[list[int]]]
    joiners: list[list[int]]
    start: int
    end: int


def tokenize(captions: list[list[str]], tokenizer: CLIPTokenizer) -> TokenizedCaptions:
    """Token ids of every caption of every picture; equal captions are tokenized once."""
    unique = sorted({caption for group in captions for caption in group})
    ids = dict(zip(unique, tokenizer(unique, add_special_tokens=False).input_ids, strict=True))
    joiners = tokenizer([joiner.strip() for joiner in JOINERS], add_special_tokens=False).input_ids
    by_picture = [[ids[caption] for caption in group] for group in captions]
    return TokenizedCaptions(by_picture, joiners, tokenizer.bos_token_id, tokenizer.eos_token_id)


def sample_sentences(data: TokenizedCaptions, index: np.ndarray, rng: np.random.Generator, drop: float) -> np.ndarray:
    """Int64 [n, CONTEXT_LENGTH]: one to four captions of each picture, joined; a share `drop` is left empty."""
    rows = np.full((len(index), CONTEXT_LENGTH), data.end, dtype=np.int64)
    for row, picture in zip(rows, index, strict=True):
        tokens = [data.start] if rng.random() < drop else [data.start, *_join(data, picture, rng)]
        row[: len(tokens)] = tokens[: CONTEXT_LENGTH - 1] if len(tokens) >= CONTEXT_LENGTH else tokens
    return rows


def _join(data: TokenizedCaptions, picture: int, rng: np.random.Generator) -> list[int]:
    captions = data.ids[picture]
    count = rng.choice(list(JOINED), p=list(JOINED.values()))
    joined: list[int] = []
    for place, number in enumerate(rng.permutation(len(captions))[:count]):
        if place:
            joined += data.joiners[rng.integers(len(data.joiners))]
        joined += captions[number]
    return joined


def noun_labels(rows: np.ndarray, tokenizer: CLIPTokenizer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kind, colour and size (0 = not said) that each noun of int64 [n, t] has; UNLABELLED where no noun stands."""
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
