"""What a caption says: its noun phrases with their adjectives, its verbs, and where and when it is.

A shallow reading by closed classes of words (see words.py), without a parser: right for captions, which are short and
start with their subject. Where it cannot tell it errs towards more claims, so that a caption is rather left out of a
scene than wrongly taken for true of it.
"""

from dataclasses import dataclass
from functools import lru_cache

from icsd.summaries.merge import words as w
from icsd.summaries.merge.inflection import base_of, canonical, implied, is_plural, stem
from icsd.summaries.merge.tagging import Tagged, tag

PLURAL = -1  # a plural of which the caption gives no number
_FILLERS = w.INTENSIFIERS | frozenset("up down out away back here there now also just still around_it".split())


@dataclass(frozen=True, slots=True)
class Mention:
    """One noun phrase: tokens [start, end), the noun in its canonical form, and what is said of it.

    `number` is None for a mass noun or where nothing is said, PLURAL, words.MANY, or the number. `kinds` holds
    (kind, values) of adjectives: the same kind with other values on the same noun is a contradiction. `owners` are the
    nouns that `relation` ties to this one.
    """

    start: int
    end: int
    head: str
    number: int | None
    kinds: dict[str, frozenset[str]]
    relation: str | None
    owners: frozenset[str]
    place: str | None
    is_setting: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """A caption as a phrase (`tokens`, ready to print but for underscores) and its claims.

    `subjects` counts the coordinated noun phrases at its start; `segments` are the token ranges of what follows them.
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
        """The phrase as it is printed."""
        return " ".join(self.tokens).replace("_", " ").replace(" ,", ",")

    def refers_back(self, start: int, end: int) -> bool:
        """Whether a word in [start, end) points to what stands elsewhere in the caption."""
        return any(token.lower() in w.REFERRING for token in self.tokens[start:end])


@lru_cache(maxsize=2**15)  # a caption is in about k groups of a shard
def read(caption: str) -> Reading | None:
    """The reading of a caption; None where it has no noun phrase."""
    return understand(tag(caption))


@lru_cache(maxsize=2**12)
def reread(tokens: tuple[str, ...]) -> Reading | None:
    """The reading of a phrase that was made from others."""
    return understand(tag(tokens))


def understand(phrase: Tagged) -> Reading | None:
    """The claims of a tagged phrase; None where it has no noun phrase."""
    mentions = _mentions(phrase)
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


def _acted_on(phrase: Tagged, mentions: tuple[Mention, ...]) -> set[str]:
    """The nouns that are more than a place and more than nearby."""
    return {m.head for m in mentions if not m.is_setting and not _is_near(phrase, m.start)}


_EMPTY_STEMS = frozenset(stem(word) for word in w.EMPTY_WORDS)


def _is_finite(phrase: Tagged) -> bool:
    """Whether the main clause is still a sentence."""
    clause = phrase.tags.split("W")[0]
    return "X" in clause or any(kind == "V" and base_of(word) for word, kind in zip(phrase.words, clause, strict=False))


def covers(mention: Mention, claim: Mention) -> bool:
    """Whether what `claim` says of its noun is part of what `mention` says: "a small red ball" covers "a ball"."""
    if claim.head != mention.head and claim.head not in implied(mention.head):
        return False
    if claim.number is not None and claim.number != mention.number:
        plural = mention.number not in (None, 1)
        if not (claim.number == PLURAL and plural):
            return False
    return all(values <= mention.kinds.get(kind, frozenset()) for kind, values in claim.kinds.items())


def contradict(one: Mention, other: Mention) -> bool:
    """Whether two mentions of one noun cannot be one thing: another colour, size, state, or (but for places) number."""
    numbers = {one.number, other.number}
    counted = not (one.is_setting or other.is_setting) and len(numbers) == 2 and None not in numbers
    if counted and (1 in numbers or PLURAL not in numbers):
        return True
    return any(kind != "plain" and kind in other.kinds and other.kinds[kind] != v for kind, v in one.kinds.items())


# --- Noun phrases -----------------------------------------------------------------------------------------------------
def _mentions(phrase: Tagged) -> tuple[Mention, ...]:
    found: list[Mention] = []
    place, total = 0, len(phrase.tags)
    while place < total:
        if phrase.tags[place] not in "DQAN":
            place += 1
            continue
        end = _chunk_end(phrase, place)
        start, end = _with_collective(phrase, place, end)
        mention = _mention(phrase, start, end, found)
        place = end
        if mention is not None:
            found.append(mention)
    return tuple(found)


def _chunk_end(phrase: Tagged, start: int) -> int:
    """Where the noun phrase that begins at `start` ends."""
    tags, seen_noun, place = phrase.tags, False, start
    while place < len(tags):
        kind = tags[place]
        if kind == "N":
            seen_noun = True
        elif kind == "S" and seen_noun:  # 's
            seen_noun = False
        elif seen_noun or not _stands_before_noun(phrase, place):
            break
        place += 1
    return place


def _stands_before_noun(phrase: Tagged, place: int) -> bool:
    kind = phrase.tags[place]
    if kind in ",C":  # "black and white"
        return phrase.tags[place - 1] == "A" and phrase.tags[place + 1 : place + 2] == "A"
    return kind in "DQA" or kind == "R" and phrase.words[place] in w.INTENSIFIERS


def _with_collective(phrase: Tagged, start: int, end: int) -> tuple[int, int]:
    """The range of "a group of people" for the chunk "a group"; else the chunk's own."""
    collective = phrase.words[end - 1] in w.COLLECTIVES | w.PAIRS | w.MANY_WORDS
    if collective and phrase.words[end : end + 1] == ("of",) and phrase.tags[end + 1 : end + 2] in ("N", "A", "Q", "D"):
        return start, _chunk_end(phrase, end + 1)
    return start, end


def _mention(phrase: Tagged, start: int, end: int, earlier: list[Mention]) -> Mention | None:
    nouns = [place for place in range(start, end) if phrase.tags[place] in "NA"]
    if not nouns:
        if phrase.tags[start] != "Q":
            return None
        nouns = [end - 1]
    head_place = nouns[-1]
    head = canonical(phrase.words[head_place])
    if head in w.EMPTY_WORDS:
        return None
    relation, owners = _relation(phrase, start, earlier)
    place = w.PLACES.get(phrase.words[head_place]) or w.PLACES.get(head)
    inside = phrase.words[start:end]
    return Mention(
        start=start,
        end=end,
        head=head,
        number=_number(inside, phrase.words[head_place]),
        kinds=_kinds(phrase, start, head_place),
        relation=relation,
        owners=owners,
        place=place,
        is_setting=start > 0 and not _is_near(phrase, start) and (place is not None or head in w.SETTING_ONLY),
    )


def _is_near(phrase: Tagged, start: int) -> bool:
    return start > 0 and phrase.words[start - 1] in w.NEARNESS


def _number(inside: tuple[str, ...], noun: str) -> int | None:
    if "of" in inside:
        return 2 if inside[inside.index("of") - 1] in w.PAIRS else w.MANY
    for word in inside[:-1]:
        if word in w.NUMBERS:
            return w.NUMBERS[word]
        if word.isdigit():
            return int(word[:6])
        if word in w.MANY_WORDS and (word != "some" or is_plural(noun)):
            return w.MANY
    if is_plural(noun):
        return PLURAL
    return 1 if inside[0] in w.DETERMINERS else None


def _kinds(phrase: Tagged, start: int, head: int) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for word, kind in zip(phrase.words[start:head], phrase.tags[start:head], strict=True):
        if kind not in "AN" or word in w.INTENSIFIERS and word not in w.ADJECTIVES:
            continue
        if word in w.COLLECTIVES or word in w.PAIRS or word in w.MANY_WORDS or word in w.NUMBERS:
            continue
        group, value = w.ADJECTIVES.get(word) or (("plain", word) if kind == "A" else ("noun", canonical(word)))
        if group == "state":
            group = _STATE_AXIS.get(value, "plain")
        found.setdefault(group, set()).add(value)
    return {group: frozenset(values) for group, values in found.items()}


_STATE_AXIS = {value: " ".join(sorted(axis)) for axis in w.OPPOSITE_STATES for value in axis}


def _relation(phrase: Tagged, start: int, earlier: list[Mention]) -> tuple[str | None, frozenset[str]]:
    """How the noun phrase stands to those before it, and to which: the last, and its subject if that is an object."""
    before = start - 1
    if before < 0 or phrase.tags[before] != "P" or not earlier:
        return None, frozenset()
    owners = {earlier[-1].head}
    last = earlier[-1].start
    if last > 0 and phrase.tags[last - 1] == "V":
        owners.add(earlier[0].head)
    return w.RELATIONS.get(phrase.words[before]), frozenset(owners)


# --- The rest of the phrase -------------------------------------------------------------------------------------------
def _subjects(phrase: Tagged, mentions: tuple[Mention, ...]) -> int:
    """How many noun phrases "a man, a woman and a dog ..." starts with."""
    count = 1
    while count < len(mentions):
        between = phrase.tags[mentions[count - 1].end : mentions[count].start]
        if not between or between.strip(",C"):
            break
        count += 1
    return count


def _segments(phrase: Tagged, start: int) -> tuple[tuple[int, int], ...]:
    """Ranges of the parts of the predicate: each begins with a preposition or a verb, joining words left out."""
    cuts = [start]
    for place in range(start + 1, len(phrase.tags)):
        kind, before = phrase.tags[place], phrase.tags[place - 1]
        opens = kind in "VWXP,C" or phrase.words[place] in w.SIDE_ADVERBS
        if opens and before not in "WC,X" and not (kind == "P" and before in "PR"):
            cuts.append(place)
    ranges = zip(cuts, [*cuts[1:], len(phrase.tags)], strict=True)
    return tuple(trimmed for first, last in ranges if (trimmed := _trim(phrase, first, last)))


def _trim(phrase: Tagged, first: int, last: int) -> tuple[int, int] | None:
    while first < last and phrase.tags[first] in ",C":
        first += 1
    while last > first and phrase.tags[last - 1] in ",C":
        last -= 1
    return (first, last) if first < last else None


def _posture(phrase: Tagged, start: int) -> str | None:
    for word, kind in zip(phrase.words[start:], phrase.tags[start:], strict=True):
        if kind == "W":
            return None
        if kind == "V":
            return _POSTURES.get(stem(word))
    return None


_POSTURES = {stem(verb): posture for verb, posture in w.POSTURES.items()}


def _settings(phrase: Tagged, mentions: tuple[Mention, ...]) -> dict[str, frozenset[str]]:
    """Place, side (in- or outdoors), time and weather, each a set of what the phrase says."""
    near = {i for mention in mentions if _is_near(phrase, mention.start) for i in range(mention.start, mention.end)}
    singular = [canonical(word) if kind == "N" else word for word, kind in zip(phrase.words, phrase.tags, strict=True)]
    pairs = [f"{first}_{second}" for first, second in zip(phrase.words, phrase.words[1:], strict=False)]
    said = {*phrase.words, *singular, *pairs}
    if "living_room" in said or "dining_room" in said:
        said -= {"room"}
    away = {word for i in near for word in (phrase.words[i], singular[i])}
    places = frozenset(w.PLACES[word] for word in said - away if word in w.PLACES)
    sides = {w.INDOORS for word in said if word in w.INDOOR_WORDS} | {
        w.OUTDOORS for word in said if word in w.OUTDOOR_WORDS
    }
    sides |= {w.OUTDOORS for place in places if place not in w.INDOOR_PLACES}
    if not sides:
        sides = {w.INDOORS for word in said & w.INDOOR_THINGS} | {w.OUTDOORS for word in said & w.OUTDOOR_THINGS}
    found = {
        "place": places,
        "side": frozenset(sides),
        "time": frozenset(w.TIMES[word] for word in said if word in w.TIMES),
        "weather": frozenset(w.WEATHER[word] for word in said if word in w.WEATHER),
    }
    return {axis: values for axis, values in found.items() if values}
