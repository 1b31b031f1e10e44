"""What captions name of this world, and how much of it is true of what is seen in their pictures."""

from collections.abc import Sequence

import numpy as np

from icsd import metrics
from icsd.picturebook.phrases import NOUNS
from icsd.picturebook.scenes import COLOURS

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
