"""The splits of the picture book: scenes with pictures and captions, as arrays and as a corpus in COCO's layout."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from icsd.core.files import atomic_path
from icsd.core.logs import progress
from icsd.picturebook.drawing import PIXELS, render
from icsd.picturebook.phrases import NOUNS, SIZE_WORDS, captions
from icsd.picturebook.scenes import COLOURS, KINDS, Scene, sample_scene

# The first scene id and the number of scenes. No id is in two splits.
SPLITS = {
    "text": (0, 4_200),
    "real": (100_000, 1_000),
    "val": (200_000, 200),
    "test": (300_000, 500),
    "generator": (1_000_000, 60_000),
    "probe_test": (2_000_000, 2_000),
}
WORLD_SEED = 0
TEXT_ONLY = "text"  # the corpus that the method starts from has captions but no pictures
VERSION = "1.0"
CAPTION_IDS = 10  # ids per scene, more than its captions, so that a caption's id contains its scene's
LICENSE = {"id": 1, "name": "Apache License 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}


@dataclass(frozen=True)
class Renders:
    """Scenes with pictures uint8 [n, 32, 32, 3] and five captions each."""

    scenes: list[Scene]
    pictures: np.ndarray
    captions: list[list[str]]


def split_scenes(split: str, limit: int | None = None) -> list[Scene]:
    """Return the scenes of a split, or its first `limit`."""
    first, count = SPLITS[split]
    return [sample_scene(first + i, WORLD_SEED) for i in range(min(count, limit or count))]


def split_renders(split: str, limit: int | None = None) -> Renders:
    """Return a split, or its first `limit` scenes, with pictures and captions."""
    scenes = split_scenes(split, limit)
    pictures = np.stack([render(scene) for scene in scenes])
    return Renders(scenes, pictures, [captions(scene, WORLD_SEED) for scene in scenes])


def object_masks(scenes: list[Scene], pictures: np.ndarray) -> np.ndarray:
    """Return bool [n, 32, 32]: the pixels that differ from the bare background."""
    bare = {(s.background, s.variant): render(replace(s, objects=())) for s in scenes}
    backgrounds = np.stack([bare[s.background, s.variant] for s in scenes])
    return (pictures != backgrounds).any(axis=-1)


def colour_labels(scenes: list[Scene]) -> np.ndarray:
    """Return int64 [n, kinds]: 0 if the kind is absent, else 1 + the index of its colour."""
    labels = np.zeros((len(scenes), len(KINDS)), dtype=np.int64)
    for row, scene in enumerate(scenes):
        for item in scene.objects:
            labels[row, KINDS.index(item.kind)] = 1 + COLOURS.index(item.colour)
    return labels


# --- Written as a corpus ---------------------------------------------------------------------------------------------
def write_annotations(split: str, path: Path, limit: int | None = None) -> None:
    """Write the annotation file of a split, or of its first `limit` scenes. The bytes are the same every time."""
    scenes = split_scenes(split, limit)
    document = {
        "info": {"description": f"The picture book, split {split}", "version": VERSION},
        "licenses": [LICENSE],
        "images": [_image(scene) for scene in scenes],
        "annotations": [record for scene in scenes for record in _annotations(scene)],
    }
    with atomic_path(path) as unfinished:
        unfinished.write_text(json.dumps(document) + "\n", encoding="utf-8")


def write_pictures(split: str, folder: Path, limit: int | None = None) -> None:
    """Write the PNG files that the annotation file names. ValueError for the split without pictures."""
    if split == TEXT_ONLY:
        raise ValueError(f"the split {split!r} has captions only and no pictures")
    scenes = split_scenes(split, limit)
    with atomic_path(folder) as unfinished:
        unfinished.mkdir()
        for scene in progress(scenes, len(scenes), "pictures"):
            Image.fromarray(render(scene)).save(unfinished / _file_name(scene))


def facts(split: str) -> dict[str, float]:
    """Return counts and means over a split's captions: the table in docs/background/picturebook.md."""
    scenes = split_scenes(split)
    texts = [caption.split() for scene in scenes for caption in captions(scene, WORLD_SEED)]
    objects = [_count(words, {noun for nouns in NOUNS.values() for noun in nouns}) for words in texts]
    colours = [_count(words, set(COLOURS)) for words in texts]
    sizes = [_count(words, {word for words in SIZE_WORDS.values() for word in words}) for words in texts]
    return {
        "scenes": len(scenes),
        "captions": len(texts),
        "objects a scene": sum(len(scene.objects) for scene in scenes) / len(scenes),
        "objects a caption": sum(objects) / len(texts),
        "captions naming two objects": objects.count(2) / len(texts),
        "named objects with their colour": sum(colours) / sum(objects),
        "named objects with their size": sum(sizes) / sum(objects),
        "words a caption": sum(map(len, texts)) / len(texts),
        "words of the longest caption": max(map(len, texts)),
        "different words": len({word for words in texts for word in words}),
        "different captions, of all": len(set(map(tuple, texts))) / len(texts),
    }


def _image(scene: Scene) -> dict[str, object]:
    return {
        "id": scene.scene_id,
        "file_name": _file_name(scene),
        "width": PIXELS,
        "height": PIXELS,
        "license": LICENSE["id"],
    }


def _file_name(scene: Scene) -> str:
    return f"{scene.scene_id:012d}.png"  # twelve digits, as COCO's


def _annotations(scene: Scene) -> Iterator[dict[str, object]]:
    for number, caption in enumerate(captions(scene, WORLD_SEED)):
        yield {"id": scene.scene_id * CAPTION_IDS + number, "image_id": scene.scene_id, "caption": caption}


def _count(words: list[str], wanted: set[str]) -> int:
    return sum(word in wanted for word in words)
