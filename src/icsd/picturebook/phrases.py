"""Write captions of scenes as people do: each names one object, or two and their relation.

No caption names all objects of a scene with three or more.
"""

import random

from icsd.picturebook.scenes import Scene, SceneObject

CAPTIONS_PER_SCENE = 5

NOUNS: dict[str, tuple[str, ...]] = {
    "house": ("house", "house", "cottage"), "tree": ("tree",), "car": ("car", "car", "automobile"),
    "boat": ("boat", "boat", "sailboat"), "ball": ("ball",), "cup": ("cup", "cup", "mug"),
    "flower": ("flower", "flower", "blossom"), "fish": ("fish",), "balloon": ("balloon",), "kite": ("kite",),
    "star": ("star",), "ghost": ("ghost", "ghost", "phantom"),
}  # fmt: skip
SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("big", "large")}
GROUND: dict[str, tuple[str, ...]] = {
    "field": ("in a field", "on the grass", "in the meadow"),
    "beach": ("on the beach", "on the sand", "at the beach"),
    "sea": ("on the sea", "on the water", "at sea"),
    "snow": ("in the snow", "on a snowy day"),
    "street": ("on the street", "on the road", "in town"),
    "room": ("in a room", "indoors"),
}
SKY: dict[str, tuple[str, ...]] = {
    "field": ("over a field", "above the grass"),
    "beach": ("over the beach", "above the sand"),
    "sea": ("over the sea", "above the water"),
    "snow": ("over the snow", "on a snowy day"),
    "street": ("over the street", "above the road"),
    "room": ("in a room", "on the shelf"),
}
ONE_OBJECT = (
    "{a}", "{a} {place}", "{a} {place}", "there is {a} {place}", "{place} there is {a}", "{a} can be seen {place}",
    "this is {a}", "{a} {verb} {place}",
)  # fmt: skip
TWO_OBJECTS = (
    "{a} {relation} {b}", "{a} {relation} {b}", "{a} {relation} {b} {place}", "{a} and {b} {place}", "{a} and {b}",
    "there is {a} {relation} {b}", "{a} with {b} nearby", "{place} there is {a} {relation} {b}",
)  # fmt: skip


def captions(scene: Scene, seed: int) -> list[str]:
    """Write five captions of a scene, all different if its objects allow it. They depend on scene and seed alone."""
    rng = random.Random(f"captions {seed} {scene.scene_id}")
    found: list[str] = []
    for attempt in range(CAPTIONS_PER_SCENE * 8):
        caption = _caption(scene, rng)
        if caption not in found or attempt >= CAPTIONS_PER_SCENE * 6:
            found.append(caption)
        if len(found) == CAPTIONS_PER_SCENE:
            break
    return found


def _caption(scene: Scene, rng: random.Random) -> str:
    """Write one caption. Of a scene with several objects 55 of 100 captions name two, drawn by prominence."""
    first, *others = _by_prominence(scene.objects, rng)
    if others and rng.random() < 0.55:
        second = others[0]
        return rng.choice(TWO_OBJECTS).format(
            a=_noun_phrase(first, rng), b=_noun_phrase(second, rng), relation=_relation(first, second, rng),
            place=_two_places(first, second, scene.background, rng),
        )  # fmt: skip
    return rng.choice(ONE_OBJECT).format(
        a=_noun_phrase(first, rng), place=_place(first, scene.background, rng), verb=_verb(first, rng)
    )


def _by_prominence(objects: tuple[SceneObject, ...], rng: random.Random) -> list[SceneObject]:
    """Shuffle the objects so that prominent ones tend to come first (Efraimidis and Spirakis, 2006)."""
    return sorted(objects, key=lambda item: -(rng.random() ** (1 / item.prominence)))


def _noun_phrase(item: SceneObject, rng: random.Random) -> str:
    """Return article, size (one time in four), colour (nine times in ten) and noun."""
    words = [rng.choice(SIZE_WORDS[item.size])] if rng.random() < 0.25 else []
    words += [item.colour] if rng.random() < 0.9 else []
    words.append(rng.choice(NOUNS[item.kind]))
    return ("an " if words[0][0] in "aeiou" else "a ") + " ".join(words)


def _place(item: SceneObject, background: str, rng: random.Random) -> str:
    phrases = SKY if item.row == 0 else GROUND
    return rng.choice(phrases[background])


def _two_places(first: SceneObject, second: SceneObject, background: str, rng: random.Random) -> str:
    """Return the lower object's place, loosely said of both. In a room, things on the shelf are in the room too."""
    lower = max(first, second, key=lambda item: item.row)
    return rng.choice(GROUND[background]) if background == "room" else _place(lower, background, rng)


def _verb(item: SceneObject, rng: random.Random) -> str:
    return rng.choice(("up", "high up")) if item.row == 0 else rng.choice(("standing alone", "seen"))


def _relation(first: SceneObject, second: SceneObject, rng: random.Random) -> str:
    """Return the relation of the first object to the second: by row if the rows differ, else by column."""
    if first.row != second.row:
        return rng.choice(("above", "over") if first.row < second.row else ("below", "under"))
    side = "left" if first.column < second.column else "right"
    near = ("next to", "beside") if abs(first.column - second.column) == 1 else ("near",)
    return rng.choice((f"to the {side} of", f"{side} of", *near))
