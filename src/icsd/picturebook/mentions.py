"""What a sentence mentions: objects with their colours, and the background; and the background that a picture shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from transformers import CLIPTokenizer

from icsd.picturebook.drawing import render
from icsd.picturebook.phrases import GROUND, SKY
from icsd.picturebook.renders import Renders
from icsd.picturebook.scenes import BACKGROUNDS, COLOURS, KINDS, Scene
from icsd.picturebook.sentences import UNLABELLED, noun_labels
from icsd.picturebook.tokenizers import CONTEXT_LENGTH, JOINERS

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
