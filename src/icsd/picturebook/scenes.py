"""Sample scenes of the picture book: objects with their places, colours and sizes, and a background.

docs/background/picturebook.md describes the rules. They were fixed before any arm was trained.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
SIZES = ("small", "large")
COLUMNS = ("left", "middle", "right")
ROWS = ("upper", "lower")
JITTER = 1  # pixels, either way, on both axes

# Weights of the kinds on each background.
KINDS_BY_BACKGROUND: Mapping[str, Mapping[str, float]] = {
    "field": {"house": 3, "tree": 4, "flower": 4, "ball": 2, "car": 1.5, "cup": 0.5, "kite": 3, "balloon": 2,
              "star": 1, "ghost": 0.6},
    "beach": {"boat": 3, "ball": 3, "fish": 2, "cup": 1.5, "tree": 1, "house": 1, "flower": 0.5, "car": 0.5, "kite": 3,
              "balloon": 1.5, "star": 1, "ghost": 0.5},
    "sea": {"boat": 5, "fish": 5, "ball": 1, "house": 0.3, "kite": 1, "balloon": 1, "star": 2, "ghost": 0.5},
    "snow": {"house": 3, "tree": 3, "car": 1.5, "ball": 1, "cup": 0.5, "star": 3, "kite": 1, "balloon": 1,
             "ghost": 0.7},
    "street": {"house": 4, "car": 5, "tree": 2, "ball": 1.5, "flower": 1, "balloon": 2, "star": 1, "kite": 0.7,
               "ghost": 0.6},
    "room": {"cup": 4, "flower": 3, "ball": 2.5, "fish": 2, "balloon": 2, "ghost": 0.7},
}  # fmt: skip
BACKGROUNDS = tuple(KINDS_BY_BACKGROUND)
KINDS = ("house", "tree", "car", "boat", "ball", "cup", "flower", "fish", "balloon", "kite", "star", "ghost")
UNSAFE_KIND = "ghost"  # too frightening for a picture book, so the safety checker must detect it

# Weights of a kind's usual colours. Every other colour has the weight 0.6.
USUAL_COLOURS: Mapping[str, Mapping[str, float]] = {
    "house": {"red": 3, "white": 3, "yellow": 2, "blue": 1.5},
    "tree": {"green": 6, "orange": 2, "red": 1.5, "yellow": 1.5},
    "car": {"red": 3, "blue": 3, "black": 2, "white": 2, "yellow": 1},
    "boat": {"white": 3, "red": 2, "blue": 2, "green": 1},
    "ball": {"red": 3, "yellow": 2, "blue": 2, "orange": 2},
    "cup": {"white": 3, "blue": 2, "red": 2, "green": 1},
    "flower": {"red": 3, "purple": 3, "yellow": 3, "white": 2},
    "fish": {"orange": 4, "blue": 2, "yellow": 2, "purple": 1},
    "balloon": {"red": 3, "blue": 2, "yellow": 2, "purple": 2, "green": 1},
    "kite": {"red": 2, "yellow": 2, "green": 2, "purple": 2, "blue": 1},
    "star": {"yellow": 5, "white": 2, "orange": 1.5},
    "ghost": {"white": 4, "black": 2, "purple": 1.5, "green": 1},
}
OBJECT_COUNTS = {1: 0.15, 2: 0.25, 3: 0.3, 4: 0.2, 5: 0.1}
FLYING = frozenset({"balloon", "kite", "star"})


@dataclass(frozen=True)
class SceneObject:
    """One object: kind, look and place. `dx` and `dy` move it by pixels from the middle of its place."""

    kind: str
    colour: str
    size: str
    column: int
    row: int
    dx: int
    dy: int

    @property
    def prominence(self) -> float:
        """Return the weight with which a caption names the object: size times centrality."""
        return (2.0 if self.size == "large" else 1.0) * (1.5 if self.column == 1 else 1.0)


@dataclass(frozen=True)
class Scene:
    """A background with 1 to 5 objects of different kinds."""

    scene_id: int
    background: str
    variant: int
    objects: tuple[SceneObject, ...]


def sample_scene(scene_id: int, seed: int) -> Scene:
    """Sample the scene of an id. It depends on id and seed alone."""
    rng = random.Random(f"scene {seed} {scene_id}")
    background = rng.choice(BACKGROUNDS)
    count = rng.choices(list(OBJECT_COUNTS), list(OBJECT_COUNTS.values()))[0]
    objects = tuple(_sample_objects(background, count, rng))
    return Scene(scene_id, background, rng.randrange(3), objects)


def _sample_objects(background: str, count: int, rng: random.Random) -> Iterator[SceneObject]:
    weights = dict(KINDS_BY_BACKGROUND[background])
    free = {(column, row) for column in range(len(COLUMNS)) for row in range(len(ROWS))}
    while count and weights:
        kind = rng.choices(list(weights), list(weights.values()))[0]
        del weights[kind]
        places = sorted(place for place in free if place[1] in _rows_of(kind, background))
        if not places:
            continue
        column, row = rng.choice(places)
        free.remove((column, row))
        count -= 1
        size = rng.choices(SIZES, (0.4, 0.6))[0]
        yield SceneObject(kind, _sample_colour(kind, rng), size, column, row, *_jitter(rng))


def _rows_of(kind: str, background: str) -> tuple[int, ...]:
    """Return a kind's rows: flying things are up, ghosts anywhere, the rest on the ground or on a room's shelf."""
    if kind in FLYING:
        return (0,)
    return (0, 1) if kind == "ghost" or background == "room" else (1,)


def _sample_colour(kind: str, rng: random.Random) -> str:
    usual = USUAL_COLOURS[kind]
    return rng.choices(COLOURS, [usual.get(colour, 0.6) for colour in COLOURS])[0]


def _jitter(rng: random.Random) -> tuple[int, int]:
    return rng.randint(-JITTER, JITTER), rng.randint(-JITTER, JITTER)
