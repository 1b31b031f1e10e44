"""The picture book's scenes, captions and pictures follow their rules, and are written as a corpus."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icsd.core import tables
from icsd.core.errors import DiskFullError
from icsd.corpora import Corpus
from icsd.picturebook import splits
from icsd.picturebook.drawing import object_box, render
from icsd.picturebook.phrases import CAPTIONS_PER_SCENE, GROUND, NOUNS, SIZE_WORDS, SKY, captions
from icsd.picturebook.scenes import BACKGROUNDS, COLOURS, FLYING, KINDS, Scene, SceneObject, sample_scene
from icsd.picturebook.splits import (
    SPLITS,
    WORLD_SEED,
    colour_labels,
    facts,
    object_masks,
    split_renders,
    split_scenes,
    write_annotations,
    write_pictures,
)
from icsd.stages.photos import PictureTables, read_pictures

ROOT = Path(__file__).parents[3]
KIND_OF = {noun: kind for kind, nouns in NOUNS.items() for noun in nouns}
SIZE_OF = {word: size for size, words in SIZE_WORDS.items() for word in words}
RELATION = re.compile(r"\b(left|right|above|over|below|under|next|beside|near)\b")


@dataclass(frozen=True)
class Named:
    """An object that a caption names, and the position of its noun among the words."""

    kind: str
    colour: str | None
    size: str | None
    position: int


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return split_scenes("text", 500)


@pytest.fixture(scope="module")
def said(scenes: list[Scene]) -> list[tuple[Scene, str]]:
    """Return every caption with its scene."""
    return [(scene, caption) for scene in scenes for caption in captions(scene, WORLD_SEED)]


def _named(caption: str) -> list[Named]:
    found: list[Named] = []
    colour = size = None
    for position, word in enumerate(caption.split()):
        colour, size = word if word in COLOURS else colour, SIZE_OF.get(word, size)
        if word in KIND_OF:
            found.append(Named(KIND_OF[word], colour, size, position))
            colour = size = None
    assert colour is None and size is None, f"{caption!r} has a colour or a size without a noun"
    return found


def _objects(scene: Scene, caption: str) -> list[SceneObject]:
    return [next(item for item in scene.objects if item.kind == named.kind) for named in _named(caption)]


# --- scenes


def test_same_id_and_seed_give_the_same_scene(scenes: list[Scene]) -> None:
    assert [sample_scene(scene.scene_id, WORLD_SEED) for scene in scenes] == scenes
    assert sample_scene(0, WORLD_SEED + 1) != scenes[0]


def test_scenes_have_one_to_five_objects_of_different_kinds_in_different_places(scenes: list[Scene]) -> None:
    assert {len(scene.objects) for scene in scenes} == {1, 2, 3, 4, 5}
    for scene in scenes:
        assert len({item.kind for item in scene.objects}) == len(scene.objects)
        assert len({(item.column, item.row) for item in scene.objects}) == len(scene.objects)


def test_every_background_kind_and_colour_is_met(scenes: list[Scene]) -> None:
    objects = [item for scene in scenes for item in scene.objects]
    assert {scene.background for scene in scenes} == set(BACKGROUNDS)
    assert {item.kind for item in objects} == set(KINDS)
    assert {item.colour for item in objects} == set(COLOURS)


def test_flying_kinds_are_in_the_upper_row(scenes: list[Scene]) -> None:
    assert all(item.row == 0 for scene in scenes for item in scene.objects if item.kind in FLYING)


def test_splits_share_no_scene_and_are_large_enough() -> None:
    ranges = [range(first, first + count) for first, count in SPLITS.values()]
    assert all(one.stop <= other.start or other.stop <= one.start for one, other in combinations(ranges, 2))
    assert SPLITS["text"][1] * CAPTIONS_PER_SCENE >= 20_000
    assert SPLITS["test"][1] >= 500


# --- captions


def test_scenes_have_five_different_captions_that_never_change(scenes: list[Scene]) -> None:
    for scene in scenes:
        found = captions(scene, WORLD_SEED)
        assert len(found) == len(set(found)) == CAPTIONS_PER_SCENE == 5
        assert captions(scene, WORLD_SEED) == found


def test_captions_name_one_or_two_objects(said: list[tuple[Scene, str]]) -> None:
    for scene, caption in said:
        kinds = [named.kind for named in _named(caption)]
        assert len(kinds) in (1, 2) and len(set(kinds)) == len(kinds), caption
        assert len(scene.objects) < 3 or len(kinds) < len(scene.objects), caption


def test_nouns_colours_and_sizes_are_true(said: list[tuple[Scene, str]]) -> None:
    for scene, caption in said:
        by_kind = {item.kind: item for item in scene.objects}
        for named in _named(caption):
            item = by_kind[named.kind]
            assert named.colour in (None, item.colour), (caption, scene)
            assert named.size in (None, item.size), (caption, scene)


def test_relations_are_true(said: list[tuple[Scene, str]]) -> None:
    met: set[str] = set()
    for scene, caption in said:
        named = _named(caption)
        if len(named) < 2:
            continue
        between = " ".join(caption.split()[named[0].position + 1 : named[1].position])
        if relation := RELATION.search(between):
            met.add(relation[1])
            assert _holds(relation[1], *_objects(scene, caption)), (caption, scene)
        else:
            assert re.match(r"(and|with) an?\b", between), caption
    assert met == {"left", "right", "above", "over", "below", "under", "next", "beside", "near"}


def _holds(relation: str, first: SceneObject, second: SceneObject) -> bool:
    rows, columns = second.row - first.row, second.column - first.column
    if relation in ("above", "over", "below", "under"):
        return rows == (1 if relation in ("above", "over") else -1)
    truth = {
        "left": columns > 0,
        "right": columns < 0,
        "next": abs(columns) == 1,
        "beside": abs(columns) == 1,
        "near": True,
    }
    return rows == 0 and truth[relation]


def test_a_place_said_of_one_object_is_where_it_is(said: list[tuple[Scene, str]]) -> None:
    phrases = sorted({phrase for group in (*GROUND.values(), *SKY.values()) for phrase in group})
    checked = 0
    for scene, caption in said:
        items = _objects(scene, caption)
        places = [phrase for phrase in phrases if phrase in caption]
        if len(items) == 1 and places:
            checked += 1
            truth = (SKY if items[0].row == 0 else GROUND)[scene.background]
            assert any(place in truth for place in places), (caption, scene)
    assert checked > 500


def test_articles_are_right(said: list[tuple[Scene, str]]) -> None:
    assert not [caption for _, caption in said if re.search(r"\ba [aeiou]|\ban [^aeiou]", caption)]


def test_page_states_the_facts_of_the_text_split() -> None:
    page = (ROOT / "docs/background/picturebook.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+) \| ([\d.]+) \|$", page, flags=re.MULTILINE))
    assert {name: float(value) for name, value in rows.items()} == pytest.approx(facts("text"), abs=6e-4)


# --- pictures


def test_pictures_are_32_pixels_and_never_change(scenes: list[Scene]) -> None:
    for scene in scenes[:50]:
        picture = render(scene)
        assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, render(scene))


def test_no_object_hides_another(scenes: list[Scene]) -> None:
    # Measured: 97% are wholly visible, the worst in 500 scenes shows 0.91 of its pixels.
    assert min(_visible_shares(scenes)) > 0.85


def _visible_shares(scenes: list[Scene]) -> Iterator[float]:
    """Yield each object's pixels changed in its scene, as a share of those changed on the bare background."""
    for scene in scenes:
        whole, bare = render(scene), render(replace(scene, objects=()))
        for item in scene.objects:
            others = replace(scene, objects=tuple(other for other in scene.objects if other is not item))
            visible = (whole != render(others)).any(axis=-1).sum()
            yield visible / (render(replace(scene, objects=(item,))) != bare).any(axis=-1).sum()


def test_objects_lie_in_the_picture_but_for_one_pixel(scenes: list[Scene]) -> None:
    boxes = np.array([object_box(item) for scene in scenes for item in scene.objects])
    assert boxes.min() >= -1 and boxes.max() <= 33


# --- renders and sentences


def test_renders_hold_pictures_captions_masks_and_labels() -> None:
    data = split_renders("val", 5)
    assert data.pictures.shape == (5, 32, 32, 3) and [len(group) for group in data.captions] == [5] * 5
    masks, labels = object_masks(data.scenes, data.pictures), colour_labels(data.scenes)
    assert masks.shape == (5, 32, 32) and masks.any(axis=(1, 2)).all() and not masks.all(axis=(1, 2)).any()
    for scene, row in zip(data.scenes, labels, strict=True):
        shown = {(KINDS[kind], COLOURS[row[kind] - 1]) for kind in row.nonzero()[0]}
        assert shown == {(item.kind, item.colour) for item in scene.objects}


def test_sentences_join_captions_of_one_picture() -> None:
    from icsd.picturebook.tokenizers import CONTEXT_LENGTH, JOINERS, sample_sentences, tokenize, train_clip_tokenizer

    texts = [captions(scene, WORLD_SEED) for scene in split_scenes("val", 20)]
    tokenizer = train_clip_tokenizer([*(text for group in texts for text in group), *JOINERS])
    data, index = tokenize(texts, tokenizer), np.arange(20)
    rows = sample_sentences(data, index, np.random.default_rng(0), drop=0.0)
    assert rows.shape == (20, CONTEXT_LENGTH) and (rows[:, 0] == data.start).all() and (rows[:, -1] == data.end).all()
    for row, group in zip(rows, texts, strict=True):
        sentence = tokenizer.decode(row, skip_special_tokens=True)
        assert any(caption in sentence for caption in group), sentence
    np.testing.assert_array_equal(rows, sample_sentences(data, index, np.random.default_rng(0), drop=0.0))
    empty = sample_sentences(data, index, np.random.default_rng(0), drop=1.0)
    assert (empty[:, 1:] == data.end).all()


def test_noun_labels_tell_what_is_said_of_each_noun() -> None:
    from icsd.picturebook.tokenizers import UNLABELLED, noun_labels, train_clip_tokenizer

    words = [*KIND_OF, *COLOURS, *SIZE_OF, "a next to"]
    tokenizer = train_clip_tokenizer(words * 5)
    rows = np.array([tokenizer("a tiny red cottage next to a boat", add_special_tokens=False).input_ids])
    kinds, colours, sizes = noun_labels(rows, tokenizer)
    labelled = kinds != UNLABELLED
    assert kinds[labelled].tolist() == [KINDS.index("house"), KINDS.index("boat")]
    assert colours[labelled].tolist() == [1 + COLOURS.index("red"), 0]
    assert sizes[labelled].tolist() == [1, 0]


# --- the corpus


def test_annotations_read_back_as_coco(tmp_path: Path) -> None:
    path = tmp_path / "annotations" / "captions_val.json"
    write_annotations("val", path)
    found, scenes = Corpus((path,)), split_scenes("val")
    assert [picture.image_id for picture in found.pictures()] == [scene.scene_id for scene in scenes]
    assert [(row.caption_id, row.image_id, row.text) for row in found.captions()] == [
        (scene.scene_id * 10 + number, scene.scene_id, caption)
        for scene in scenes
        for number, caption in enumerate(captions(scene, WORLD_SEED))
    ]


def test_annotations_are_the_same_bytes_again_and_the_same_ids_with_a_limit(tmp_path: Path) -> None:
    first, again, short = (tmp_path / name for name in ("first.json", "again.json", "short.json"))
    write_annotations("val", first)
    write_annotations("val", again)
    write_annotations("val", short, limit=7)
    assert first.read_bytes() == again.read_bytes()
    few, all_of_them = (list(Corpus((path,)).pictures()) for path in (short, first))
    assert few == all_of_them[:7]


def test_pictures_read_back_with_their_captions(tmp_path: Path) -> None:
    write_annotations("val", tmp_path / "val.json", limit=12)
    write_pictures("val", tmp_path / "val", limit=12)
    paths = PictureTables(*(tmp_path / f"{name}.parquet" for name in ("images", "captions", "domains", "ledger")))
    read_pictures(Corpus((tmp_path / "val.json",)), tmp_path / "val", "val", paths, 0.0)
    assert len(tables.read(paths.images, tables.IMAGES)) == 12
    assert len(tables.read(paths.captions, tables.CAPTIONS)) == 12 * CAPTIONS_PER_SCENE
    for scene in split_scenes("val", 12):
        with Image.open(tmp_path / "val" / f"{scene.scene_id:012d}.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), render(scene))


def test_pictures_are_the_same_bytes_again(tmp_path: Path) -> None:
    for name in ("first", "again"):
        write_pictures("test", tmp_path / name, limit=5)
    first, again = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "again")
    )
    assert first == again and len(first) == 5


def test_text_split_has_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="captions only"):
        write_pictures("text", tmp_path / "text")
    assert not list(tmp_path.iterdir())


def test_failed_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(scene: Scene) -> np.ndarray:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(splits, "render", fail)
    with pytest.raises(DiskFullError, match="No space"):
        write_pictures("val", tmp_path / "val", limit=3)
    assert not list(tmp_path.iterdir())


def test_rules_take_every_split() -> None:
    text = (ROOT / "rules" / "picturebook.smk").read_text(encoding="utf-8")
    annotated, drawn = re.findall(r'split="([\w|]+)"', text)[:2]
    assert annotated.split("|") == list(SPLITS)
    assert drawn.split("|") == [split for split in SPLITS if split != splits.TEXT_ONLY]


# --- nothing imports it


def test_pipeline_never_imports_the_picture_book() -> None:
    package = [p for p in (ROOT / "src" / "icsd").rglob("*.py") if "picturebook" not in p.parts]
    scripts = [p for p in (ROOT / "scripts").glob("*.py") if "picturebook" not in p.name]
    assert package and scripts
    assert not [str(path) for path in (*package, *scripts) if _imports_picturebook(path)]


def _imports_picturebook(path: Path) -> bool:
    """Tell whether a file imports the picture book anywhere, also in a function or by a relative import."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        if any("picturebook" in name.split(".") for name in names):
            return True
    return False


def test_rules_of_the_pipeline_never_name_the_picture_book() -> None:
    rules = [path for path in (ROOT / "rules").glob("*.smk") if not path.stem.startswith("picturebook")]
    assert rules
    assert not [path.name for path in rules if "picturebook" in path.read_text(encoding="utf-8")]
