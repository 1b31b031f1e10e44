"""Selecting captions of a group that agree, and one sentence that says what they say.

The group's own caption gives the first phrase. The others are gone through by falling similarity. One that contradicts
what stands is left; one about the same subject adds what it says to that phrase ("a man riding a wave" and "a man on a
yellow surfboard": "a man riding a wave on a yellow surfboard"); one about something else becomes a phrase of its own.
At the end a caption is selected if all that it says stands in the sentence: the picture is drawn from the sentence, and
selected captions are training text that must be true of the picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from icsd.merger.joining import extended, new_phrase
from icsd.merger.mentions import contradict
from icsd.merger.reading import Reading, read
from icsd.merger.scene import Scene, same_subject


@dataclass(frozen=True)
class Limits:
    """Of the sentence: words, captions whose text goes into it, things named; and of the captions selected."""

    max_words: int = 50
    max_phrases: int = 4
    max_objects: int = 6
    max_selected: int = 10


@dataclass(frozen=True)
class Merged:
    """The sentence, and the places (0-based, ascending) of the captions that are true of it."""

    sentence: str
    selected: tuple[int, ...]


def merge(captions: Sequence[str], limits: Limits) -> Merged | None:
    """One sentence from captions that agree, the first caption's first; None where no caption fits the limits.

    Where more captions are true of it than may be selected, those whose text went into it come first.

    Depends on the captions and their order alone. The sentence has at most `max_words` words; no noun has two colours.
    """
    readings = [read(caption) for caption in captions]
    scene = _first_scene(readings, limits)
    if scene is None:
        return None
    scene, written = _filled(scene, readings, limits)
    covered = [place for place, reading in enumerate(readings) if reading is not None and scene.covers(reading)]
    # first those whose text is in the sentence: what is drawn must stand in a selected caption
    covered.sort(key=lambda place: place not in written)
    return Merged(scene.sentence(), tuple(sorted(covered[: limits.max_selected]))) if covered else None


def _first_scene(readings: Sequence[Reading | None], limits: Limits) -> Scene | None:
    for reading in readings:
        if reading is not None and _fits(Scene((reading,)), limits):
            return Scene((reading,))
    return None


def _fits(scene: Scene, limits: Limits) -> bool:
    return len(scene.sentence().split()) <= limits.max_words


def _filled(scene: Scene, readings: Sequence[Reading | None], limits: Limits) -> tuple[Scene, list[int]]:
    """The scene with the captions that add something to it, as many as the limits allow, and the places of those."""
    written = [readings.index(scene.phrases[0])]
    for place, reading in enumerate(readings):
        if len(written) >= limits.max_phrases:
            break
        if reading is None or reading.is_negative or scene.covers(reading) or scene.contradicts(reading):
            continue
        for larger in _with(scene, reading):
            kept = all(larger.covers(earlier) for other in (*written, place) if (earlier := readings[other]))
            if kept and _fits(larger, limits) and larger.objects() <= limits.max_objects and _consistent(larger):
                scene = larger
                written.append(place)
                break
    return scene, written


def _consistent(scene: Scene) -> bool:
    """Whether no noun of the finished sentence has two colours or numbers."""
    mentions = list(scene.mentions())
    return not any(
        one.head == two.head and contradict(one, two) for place, one in enumerate(mentions) for two in mentions[:place]
    )


def _with(scene: Scene, reading: Reading) -> Iterator[Scene]:
    """The ways to put a caption that agrees into the scene, the best first."""
    for place, phrase in enumerate(scene.phrases):
        if same_subject(phrase, reading):
            joined = extended(phrase, reading, scene)
            if joined is not None:
                yield Scene((*scene.phrases[:place], joined, *scene.phrases[place + 1 :]))
            return
    added = new_phrase(reading, scene)
    if added is not None:
        yield Scene((*scene.phrases, added))
