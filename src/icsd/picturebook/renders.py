"""Renders of the picture book as arrays, for the training of its small models."""

from dataclasses import dataclass, replace

import numpy as np

from icsd.picturebook.drawing import render
from icsd.picturebook.phrases import captions
from icsd.picturebook.scenes import COLOURS, KINDS, Scene, sample_scene

# Scene ids of a split never overlap: the first id, and how many scenes.
SPLITS = {
    "text": (0, 4_200),
    "real": (100_000, 1_000),
    "val": (200_000, 200),
    "test": (300_000, 500),
    "generator": (1_000_000, 60_000),
    "probe_test": (2_000_000, 2_000),
}
WORLD_SEED = 0


@dataclass(frozen=True)
class Renders:
    """Scenes with pictures uint8 [n, 32, 32, 3] and five captions each."""

    scenes: list[Scene]
    pictures: np.ndarray
    captions: list[list[str]]


def split_scenes(split: str, limit: int | None = None) -> list[Scene]:
    """The scenes of a split, or its first `limit`."""
    first, count = SPLITS[split]
    return [sample_scene(first + i, WORLD_SEED) for i in range(min(count, limit or count))]


def split_renders(split: str, limit: int | None = None) -> Renders:
    """A split with its pictures drawn."""
    scenes = split_scenes(split, limit)
    pictures = np.stack([render(scene) for scene in scenes])
    return Renders(scenes, pictures, [captions(scene, WORLD_SEED) for scene in scenes])


def object_masks(scenes: list[Scene], pictures: np.ndarray) -> np.ndarray:
    """Bool [n, 32, 32]: the pixels that differ from the bare background."""
    bare = {(s.background, s.variant): render(replace(s, objects=())) for s in scenes}
    backgrounds = np.stack([bare[s.background, s.variant] for s in scenes])
    return (pictures != backgrounds).any(axis=-1)


def colour_labels(scenes: list[Scene]) -> np.ndarray:
    """Int64 [n, kinds]: 0 where the kind is absent, else 1 + the index of its colour."""
    labels = np.zeros((len(scenes), len(KINDS)), dtype=np.int64)
    for row, scene in enumerate(scenes):
        for item in scene.objects:
            labels[row, KINDS.index(item.kind)] = 1 + COLOURS.index(item.colour)
    return labels
