"""Token ids of captions and of sentences joined from several captions, as the small image model reads them."""

from dataclasses import dataclass

import numpy as np
from transformers import CLIPTokenizer

from icsd.picturebook.phrases import NOUNS, SIZE_WORDS
from icsd.picturebook.scenes import COLOURS, KINDS, SIZES
from icsd.picturebook.tokenizers import CONTEXT_LENGTH, JOINERS

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
