"""Find the objects and backgrounds that texts mention, and count how many of them the pictures show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from transformers import CLIPTokenizer

from icsd.core import metrics
from icsd.picturebook.drawing import render
from icsd.picturebook.phrases import GROUND, NOUNS, SKY
from icsd.picturebook.scenes import BACKGROUNDS, COLOURS, Scene
from icsd.picturebook.splits import Renders
from icsd.picturebook.tokenizers import CONTEXT_LENGTH, JOINERS

Mentions = Mapping[str, str | None]  # kinds, and their colours where they are said
MAX_CAPTIONS = 4  # in a sentence
VARIANTS = 3


@dataclass(frozen=True)
class Sentence:
    """One caption, or several joined, with the objects and the background that it mentions."""

    text: str
    objects: Mentions
    background: str | None


def sentences_by_count(data: Renders, tokenizer: CLIPTokenizer, per_count: int, most: int = 4) -> list[Sentence]:
    """Return `per_count` sentences each that mention 1, 2 … `most` objects, in this order; at most one per scene."""
    rng = np.random.default_rng(0)
    joined = [_join(group, rng) for group in data.captions]
    fitting = [text for text in joined if len(tokenizer(text).input_ids) <= CONTEXT_LENGTH]
    groups: dict[int, list[Sentence]] = {count: [] for count in range(1, most + 1)}
    for text in fitting:
        objects = mentioned_objects(text)
        if len(objects) in groups:
            groups[len(objects)].append(Sentence(text, objects, mentioned_background(text)))
    return [sentence for group in groups.values() for sentence in group[:per_count]]


def mentioned_objects(text: str) -> Mentions:
    """Return the kinds that a text names, with the last colour that it gives each. A scene has one object of a kind."""
    found: dict[str, str | None] = {}
    for colour, kind in named_objects(text):
        found[kind] = colour or found.get(kind)
    return found


def mentioned_background(text: str) -> str | None:
    """Return the background that a phrase of the text names; None if there is none."""
    for background in BACKGROUNDS:
        if any(phrase in text for phrase in (*GROUND[background], *SKY[background])):
            return background
    return None


def shown_background(picture: np.ndarray) -> str:
    """Return the background nearest to a picture, uint8 [32, 32, 3], by the median difference of the pixels."""
    names, pictures = _bare_backgrounds()
    differences = np.abs(pictures - picture.astype(np.int16)).max(axis=-1)
    return names[int(np.median(differences, axis=(1, 2)).argmin())]


@lru_cache(maxsize=1)
def _bare_backgrounds() -> tuple[list[str], np.ndarray]:
    scenes = [Scene(0, name, variant, ()) for name in BACKGROUNDS for variant in range(VARIANTS)]
    return [scene.background for scene in scenes], np.stack([render(scene) for scene in scenes]).astype(np.int16)


def _join(captions: list[str], rng: np.random.Generator) -> str:
    """Join one to MAX_CAPTIONS of a scene's captions."""
    text, *others = (captions[i] for i in rng.permutation(len(captions))[: rng.integers(1, MAX_CAPTIONS + 1)])
    for caption in others:
        text += JOINERS[rng.integers(len(JOINERS))] + caption
    return text


KIND_OF = {noun: kind for kind, nouns in NOUNS.items() for noun in nouns}

Objects = set[tuple[str, str]]  # colour and kind of the objects that the probe sees in a picture


def count_objects(captions: Sequence[str], seen: Sequence[Objects]) -> np.ndarray:
    """Count the objects that each caption names, and those of them that are true of its picture: [n, 2].

    An object is true if its kind is seen, in its colour if the caption gives one. A picture has at most one object of a
    kind, so that of two mentions of a kind at most one is true.
    """
    return np.array(
        [_named_and_true(caption, objects) for caption, objects in zip(captions, seen, strict=True)], dtype=np.float64
    ).reshape(-1, 2)


def _named_and_true(caption: str, objects: Objects) -> tuple[int, int]:
    named, kinds = named_objects(caption), {kind for _, kind in objects}
    true = {kind for colour, kind in named if ((colour, kind) in objects if colour else kind in kinds)}
    return len(named), len(true)


def named_objects(caption: str) -> list[tuple[str | None, str]]:
    """Return the colour, or None, and the kind of each object that a caption names.

    The colour is the last one that stands between the noun and the noun before it.
    """
    found: list[tuple[str | None, str]] = []
    colour = None
    for word in metrics.plain_tokens(caption).split():
        if word in KIND_OF:
            found.append((colour, KIND_OF[word]))
            colour = None
        elif word in COLOURS:
            colour = word
    return found
