"""Collect the claims of a caption: noun phrases with their adjectives, verbs, place, time and weather.

The reading is shallow: it uses the closed classes of `words` and no parser. That suits captions, which are short and
start with their subject. In doubt it finds more claims, so that a caption is left out rather than wrongly selected.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from icsd.merger import words as w
from icsd.merger.grammar import is_whole
from icsd.merger.inflection import article, base_of, canonical, stem
from icsd.merger.markers import description_problem
from icsd.merger.mentions import Mention, is_near, mentions_of
from icsd.merger.tagging import Tagged, tag

_FILLERS = w.INTENSIFIERS | frozenset("up down out away back here there now also just still around_it".split())


@dataclass(frozen=True, slots=True)
class Reading:
    """A caption as a phrase and its claims.

    `tokens` are printed as they are, but for underscores. `subjects` counts the coordinated noun phrases at the start;
    `segments` are the token ranges of the parts of the predicate. `verbs` are stems, `others` adverbs. `settings` maps
    place, side, time and weather to the values that the caption names. `content` holds the verbs and the nouns that
    are more than a setting. `is_finite` marks a phrase that is still a sentence.
    """

    tokens: tuple[str, ...]
    tags: str
    mentions: tuple[Mention, ...]
    subjects: int
    segments: tuple[tuple[int, int], ...]
    verbs: frozenset[str]
    others: frozenset[str]
    posture: str | None
    settings: dict[str, frozenset[str]]
    content: frozenset[str]
    is_finite: bool
    is_negative: bool

    def text(self) -> str:
        """Return the phrase as it is printed."""
        return " ".join(_with_articles(self.tokens)).replace("_", " ").replace(" ,", ",")

    def is_whole(self) -> bool:
        """Tell whether the merger understands all of the phrase, as `grammar` defines."""
        return is_whole(Tagged(self.tokens, tuple(token.lower() for token in self.tokens), self.tags))

    def refers_back(self, start: int, end: int) -> bool:
        """Tell whether a word in [start, end) refers to another part of the caption, such as "it"."""
        return any(token.lower() in w.REFERRING for token in self.tokens[start:end])


@lru_cache(maxsize=2**15)  # a caption is in about k groups of a shard
def read_description(caption: str) -> Reading | None:
    """Read a caption that describes a scene in words that the merger understands. None for any other text."""
    if description_problem(caption) is not None:
        return None
    phrase = tag(caption)
    return understand(phrase) if is_whole(phrase) else None


@lru_cache(maxsize=2**12)
def reread(tokens: tuple[str, ...]) -> Reading | None:
    """Read a phrase that was joined from others. None if it has no noun phrase."""
    return understand(tag(tokens))


def understand(phrase: Tagged) -> Reading | None:
    """Collect the claims of a tagged phrase. None if it has no noun phrase."""
    mentions = mentions_of(phrase)
    if not mentions:
        return None
    subjects = _subjects(phrase, mentions)
    verbs = [stem(word) for word, tag_ in zip(phrase.words, phrase.tags, strict=True) if tag_ in "V"]
    verbs = [verb for verb in verbs if verb not in _EMPTY_STEMS]
    others = frozenset(x for x, t in zip(phrase.words, phrase.tags, strict=True) if t == "R" and x not in _FILLERS)
    return Reading(
        tokens=phrase.tokens,
        tags=phrase.tags,
        mentions=mentions,
        subjects=subjects,
        segments=_segments(phrase, mentions[subjects - 1].end),
        verbs=frozenset(verbs),
        others=others,
        posture=_posture(phrase, mentions[subjects - 1].end),
        settings=_settings(phrase, mentions),
        content=frozenset(verbs) | _acted_on(phrase, mentions),
        is_finite=mentions[0].start > 0 or _is_finite(phrase),
        is_negative=any(word in ("no", "not", "without", "nobody", "nothing", "none") for word in phrase.words),
    )


def _with_articles(tokens: tuple[str, ...]) -> Iterator[str]:
    """Yield the tokens with "a" or "an" as the next word needs it. Abbreviations stay: "an SUV"."""
    for token, following in zip(tokens, (*tokens[1:], ""), strict=True):
        yield article(following) if token in ("a", "an") and following.islower() else token


def _acted_on(phrase: Tagged, mentions: tuple[Mention, ...]) -> set[str]:
    """Return the nouns that are neither a setting nor merely nearby."""
    return {m.noun for m in mentions if not m.is_setting and not is_near(phrase, m.start)}


_EMPTY_STEMS = frozenset(stem(word) for word in w.EMPTY_WORDS)


def _is_finite(phrase: Tagged) -> bool:
    """Tell whether the main clause is still a sentence."""
    clause = phrase.tags.split("W")[0]
    return "X" in clause or any(kind == "V" and base_of(word) for word, kind in zip(phrase.words, clause, strict=False))


# --- The rest of the phrase -------------------------------------------------------------------------------------------
def _subjects(phrase: Tagged, mentions: tuple[Mention, ...]) -> int:
    """Count the coordinated noun phrases at the start: 3 for "a man, a woman and a dog ..."."""
    count = 1
    while count < len(mentions):
        between = phrase.tags[mentions[count - 1].end : mentions[count].start]
        if not between or between.strip(",C"):
            break
        count += 1
    return count


def _segments(phrase: Tagged, start: int) -> tuple[tuple[int, int], ...]:
    """Return the token ranges of the parts of the predicate.

    Each begins with a preposition or a verb. Commas and conjunctions at its ends are left out.
    """
    cuts = [start]
    for position in range(start + 1, len(phrase.tags)):
        kind, before = phrase.tags[position], phrase.tags[position - 1]
        opens = kind in "VWXP,C" or phrase.words[position] in w.SIDE_ADVERBS
        if opens and before not in "WC,X" and not (kind == "P" and before in "PR"):
            cuts.append(position)
    ranges = zip(cuts, [*cuts[1:], len(phrase.tags)], strict=True)
    return tuple(trimmed for first, last in ranges if (trimmed := _trim(phrase, first, last)))


def _trim(phrase: Tagged, first: int, last: int) -> tuple[int, int] | None:
    while first < last and phrase.tags[first] in ",C":
        first += 1
    while last > first and phrase.tags[last - 1] in ",C":
        last -= 1
    return (first, last) if first < last else None


def _posture(phrase: Tagged, start: int) -> str | None:
    """Return the posture that the first verb after `start` puts the subject in, such as sitting."""
    for word, kind in zip(phrase.words[start:], phrase.tags[start:], strict=True):
        if kind == "W":
            return None
        if kind == "V":
            return _POSTURES.get(stem(word))
    return None


_POSTURES = {stem(verb): posture for verb, posture in w.POSTURES.items()}


def _settings(phrase: Tagged, mentions: tuple[Mention, ...]) -> dict[str, frozenset[str]]:
    """Return the place, side (indoors or outdoors), time and weather that the phrase names, a set each."""
    near = {i for mention in mentions if is_near(phrase, mention.start) for i in range(mention.start, mention.end)}
    singular = [canonical(word) if kind == "N" else word for word, kind in zip(phrase.words, phrase.tags, strict=True)]
    pairs = [f"{first}_{second}" for first, second in zip(phrase.words, phrase.words[1:], strict=False)]
    words = {*phrase.words, *singular, *pairs}
    if "living_room" in words or "dining_room" in words:
        words -= {"room"}
    away = {word for i in near for word in (phrase.words[i], singular[i])}
    places = frozenset(w.PLACES[word] for word in words - away if word in w.PLACES)
    sides = {w.INDOORS for word in words if word in w.INDOOR_WORDS} | {
        w.OUTDOORS for word in words if word in w.OUTDOOR_WORDS
    }
    sides |= {w.OUTDOORS for place in places if place not in w.INDOOR_PLACES}
    if not sides:
        sides = {w.INDOORS for word in words & w.INDOOR_THINGS} | {w.OUTDOORS for word in words & w.OUTDOOR_THINGS}
    found = {
        "place": places,
        "side": frozenset(sides),
        "time": frozenset(w.TIMES[word] for word in words if word in w.TIMES),
        "weather": frozenset(w.WEATHER[word] for word in words if word in w.WEATHER),
    }
    return {axis: values for axis, values in found.items() if values}
