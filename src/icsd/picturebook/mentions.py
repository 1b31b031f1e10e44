"""What captions name of this world, and how much of it is true of what is seen in their pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from transformers import CLIPTokenizer

from icsd.core import metrics
from icsd.picturebook.drawing import render
from icsd.picturebook.phrases import GROUND, NOUNS, SKY
from icsd.picturebook.renders import Renders
from icsd.picturebook.scenes import BACKGROUNDS, COLOURS, KINDS, Scene
from icsd.picturebook.tokenizers import CONTEXT_LENGTH, JOINERS, UNLABELLED, noun_labels

Mentions = Mapping[str, str | None]  # kinds, and their colours where they are said
MAX_CAPTIONS = 4  # in a sentence
VARIANTS = 3


@dataclass(frozen=True)
class Sentence:
    """One caption or several joined, and what they mention."""

    text: str
    objects: Mentions
    background: str | None


def sentences_by_count(data: Renders, tokenizer: CLIPTokenizer, per_count: int, most: int = 4) -> list[Sentence]:
    """`per_count` sentences each that mention 1, 2 … `most` objects, in this order; at most one a scene."""
    rng = np.random.default_rng(0)
    joined = [_join(group, rng) for group in data.captions]
    fitting = [text for text in joined if len(tokenizer(text).input_ids) <= CONTEXT_LENGTH]
    groups: dict[int, list[Sentence]] = {count: [] for count in range(1, most + 1)}
    for text, objects in zip(fitting, mentioned_objects(fitting, tokenizer), strict=True):
        if len(objects) in groups:
            groups[len(objects)].append(Sentence(text, objects, mentioned_background(text)))
    return [sentence for group in groups.values() for sentence in group[:per_count]]


def mentioned_objects(texts: list[str], tokenizer: CLIPTokenizer) -> list[Mentions]:
    """The kinds that each text names, with the colours that it gives them; a scene has one object of a kind."""
    rows = tokenizer(texts, padding="max_length", truncation=True, max_length=CONTEXT_LENGTH, return_tensors="np")
    kinds, colours, _ = noun_labels(rows.input_ids, tokenizer)
    mentions: list[Mentions] = []
    for kind_row, colour_row in zip(kinds, colours, strict=True):
        said: dict[str, str | None] = {}
        for kind, colour in zip(kind_row, colour_row, strict=True):
            if kind != UNLABELLED:
                said[KINDS[kind]] = COLOURS[colour - 1] if colour else said.get(KINDS[kind])
        mentions.append(said)
    return mentions


def mentioned_background(text: str) -> str | None:
    """The background whose phrase stands in the text, if any does."""
    for background in BACKGROUNDS:
        if any(phrase in text for phrase in (*GROUND[background], *SKY[background])):
            return background
    return None


def shown_background(picture: np.ndarray) -> str:
    """The background nearest to uint8 [32, 32, 3], by the median difference of its pixels."""
    names, pictures = _bare_backgrounds()
    differences = np.abs(pictures - picture.astype(np.int16)).max(axis=-1)
    return names[int(np.median(differences, axis=(1, 2)).argmin())]


@lru_cache(maxsize=1)
def _bare_backgrounds() -> tuple[list[str], np.ndarray]:
    scenes = [Scene(0, name, variant, ()) for name in BACKGROUNDS for variant in range(VARIANTS)]
    return [scene.background for scene in scenes], np.stack([render(scene) for scene in scenes]).astype(np.int16)


def _join(captions: list[str], rng: np.random.Generator) -> str:
    """One to MAX_CAPTIONS of a scene's captions, one after the other."""
    text, *others = (captions[i] for i in rng.permutation(len(captions))[: rng.integers(1, MAX_CAPTIONS + 1)])
    for caption in others:
        text += JOINERS[rng.integers(len(JOINERS))] + caption
    return text


KIND_OF = {noun: kind for kind, nouns in NOUNS.items() for noun in nouns}

Objects = set[tuple[str, str]]  # colour, kind: what the probe sees in a picture


def count_objects(captions: Sequence[str], seen: Sequence[Objects]) -> np.ndarray:
    """How many objects each caption names, and how many of them are true of what is seen in its picture: [n, 2].

    True is a kind that is seen, in the colour that the caption gives it if it gives one. A picture has one object of a
    kind at most, so that of two mentions of a kind one at most is true.
    """
    return np.array(
        [_named_and_true(caption, objects) for caption, objects in zip(captions, seen, strict=True)], dtype=np.float64
    ).reshape(-1, 2)


def _named_and_true(caption: str, objects: Objects) -> tuple[int, int]:
    named, kinds = named_objects(caption), {kind for _, kind in objects}
    true = {kind for colour, kind in named if ((colour, kind) in objects if colour else kind in kinds)}
    return len(named), len(true)


def named_objects(caption: str) -> list[tuple[str | None, str]]:
    """Colour, if one is said, and kind of each of the world's nouns in a caption; the last colour before it counts."""
    found: list[tuple[str | None, str]] = []
    colour = None
    for word in metrics.plain_tokens(caption).split():
        if word in KIND_OF:
            found.append((colour, KIND_OF[word]))
            colour = None
        elif word in COLOURS:
            colour = word
    return found
