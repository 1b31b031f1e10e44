"""A split of the picture book written out as COCO publishes captions: annotation JSON and picture files."""

import json
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from icsd.core.files import atomic_path
from icsd.core.logs import progress
from icsd.picturebook.drawing import PIXELS, render
from icsd.picturebook.phrases import NOUNS, SIZE_WORDS, captions
from icsd.picturebook.renders import WORLD_SEED, split_scenes
from icsd.picturebook.scenes import COLOURS, Scene

TEXT_ONLY = "text"  # the corpus that the method starts from has captions alone
VERSION = "1.0"
CAPTION_IDS = 10  # ids a scene: more than its captions, so that an id tells its scene
LICENSE = {"id": 1, "name": "Apache License 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}


def write_annotations(split: str, path: Path, limit: int | None = None) -> None:
    """Write the annotation file of a split, or of its first `limit` scenes: the same bytes every time."""
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
    """Write the PNG files that the annotation file names; ValueError for the split that has none."""
    if split == TEXT_ONLY:
        raise ValueError(f"the split {split!r} has captions only: its pictures are never written")
    scenes = split_scenes(split, limit)
    with atomic_path(folder) as unfinished:
        unfinished.mkdir()
        for scene in progress(scenes, len(scenes), "pictures"):
            Image.fromarray(render(scene)).save(unfinished / _file_name(scene))


def facts(split: str) -> dict[str, float]:
    """What is counted and averaged over a split's captions; the table in docs/background/picturebook.md."""
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
