"""Merge the captions of a group that agree into one sentence, and select the captions that are true of it.

The first caption that describes a scene gives the first phrase; most often it is the anchor, a group's first caption.
The others follow by falling similarity:

- A caption that is no description of a scene, or has a grammar that the merger does not know, is left out.
- A caption that contradicts the draft is left out.
- A caption about the same subject extends its phrase: "a man riding a wave" and "a man on a yellow surfboard" become
  "a man riding a wave on a yellow surfboard".
- A caption about another subject becomes a phrase of its own.

At the end a caption is selected if the sentence says all that it says. The picture is drawn from the sentence, and the
selected captions are training texts, so they must be true of the picture.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from icsd.merger.draft import Draft, same_subject
from icsd.merger.joining import extend, new_phrase
from icsd.merger.markers import description_problem
from icsd.merger.mentions import contradict
from icsd.merger.reading import Reading, read_description


@dataclass(frozen=True)
class Limits:
    """Limits of the sentence (words, phrases, things named) and of the number of captions selected."""

    max_words: int = 50
    max_phrases: int = 4
    max_objects: int = 6
    max_selected: int = 10


@dataclass(frozen=True)
class Merged:
    """A sentence, and the positions (0-based, ascending) of the captions that are true of it."""

    sentence: str
    selected: tuple[int, ...]


def merge(captions: Sequence[str], limits: Limits) -> Merged | None:
    """Merge captions that agree into one sentence, which begins with the first of them. None if no caption fits.

    The result depends on the captions and their order alone. The sentence has at most `max_words` words, and no noun
    has two colours. If more captions are true of it than may be selected, those whose text is in it come first.
    """
    readings = [read_description(caption) for caption in captions]
    draft = _first_draft(readings, limits)
    if draft is None:
        return None
    draft, written = _fill(draft, readings, limits)
    covered = [position for position, reading in enumerate(readings) if reading is not None and draft.covers(reading)]
    # captions whose text is in the sentence come first: a selected caption must name all that is drawn
    covered.sort(key=lambda position: position not in written)
    return Merged(draft.sentence(), tuple(sorted(covered[: limits.max_selected]))) if covered else None


def why_nothing(captions: Sequence[str], limits: Limits) -> str:
    """Tell why `merge` made nothing of these captions."""
    if any(read_description(caption) is not None for caption in captions):
        return f"no caption that describes a scene has at most {limits.max_words} words"
    problems = Counter(
        description_problem(caption) or "a grammar that the merger does not know" for caption in captions
    )
    counts = ", ".join(f"{count:,} {problem}" for problem, count in problems.most_common())
    return f"no caption describes a scene in words that the merger understands: {counts}"


def _first_draft(readings: Sequence[Reading | None], limits: Limits) -> Draft | None:
    for reading in readings:
        if reading is not None and _fits(Draft((reading,)), limits):
            return Draft((reading,))
    return None


def _fits(draft: Draft, limits: Limits) -> bool:
    return len(draft.sentence().split()) <= limits.max_words


def _fill(draft: Draft, readings: Sequence[Reading | None], limits: Limits) -> tuple[Draft, list[int]]:
    """Add captions to the draft, as many as the limits allow; return it with the positions of those in its text."""
    written = [readings.index(draft.phrases[0])]
    for position, reading in enumerate(readings):
        if len(written) >= limits.max_phrases:
            break
        if reading is None or reading.is_negative or draft.covers(reading) or draft.contradicts(reading):
            continue
        for larger in _extensions(draft, reading):
            covered = all(larger.covers(earlier) for other in (*written, position) if (earlier := readings[other]))
            if covered and _fits(larger, limits) and larger.objects() <= limits.max_objects and _consistent(larger):
                draft = larger
                written.append(position)
                break
    return draft, written


def _consistent(draft: Draft) -> bool:
    """Tell whether no noun of the sentence has two colours or numbers."""
    mentions = list(draft.mentions())
    return not any(one.noun == two.noun and contradict(one, two) for one, two in combinations(mentions, 2))


def _extensions(draft: Draft, reading: Reading) -> Iterator[Draft]:
    """Yield the drafts that a caption which agrees can make of this one, the best first."""
    for position, phrase in enumerate(draft.phrases):
        if same_subject(phrase, reading):
            joined = extend(phrase, reading, draft)
            if joined is not None and joined.is_whole():
                yield Draft((*draft.phrases[:position], joined, *draft.phrases[position + 1 :]))
            return
    added = new_phrase(reading, draft)
    if added is not None:
        yield Draft((*draft.phrases, added))
