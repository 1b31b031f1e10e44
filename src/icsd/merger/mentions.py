"""Noun phrases of a caption: the noun, its number, its adjectives and its relation to the nouns before it."""

from dataclasses import dataclass

from icsd.merger import nouns as n
from icsd.merger import words as w
from icsd.merger.inflection import canonical, implied, is_plural
from icsd.merger.tagging import Tagged

PLURAL = -1  # a plural of which the caption gives no number


@dataclass(frozen=True, slots=True)
class Mention:
    """One noun phrase: tokens [start, end) and the claims about its noun, which is in canonical form.

    `number` is the number, PLURAL or words.MANY; None for a mass noun or an unknown number. `kinds` maps a kind of
    adjective, such as colour, to its values: other values of one kind on the same noun contradict. `relation` ties the
    noun to the `related` nouns before it. `place` is the place that the noun names, such as "beach". `is_setting` marks
    a noun that says where the scene is.
    """

    start: int
    end: int
    noun: str
    number: int | None
    kinds: dict[str, frozenset[str]]
    relation: str | None
    related: frozenset[str]
    place: str | None
    is_setting: bool


def covers(mention: Mention, claim: Mention) -> bool:
    """Tell whether `mention` says all that `claim` says: "a small red ball" covers "a ball"."""
    if claim.noun != mention.noun and claim.noun not in implied(mention.noun):
        return False
    if claim.number is not None and claim.number != mention.number:
        plural = mention.number not in (None, 1)
        if not (claim.number == PLURAL and plural):
            return False
    return all(values <= mention.kinds.get(kind, frozenset()) for kind, values in claim.kinds.items())


def contradict(one: Mention, other: Mention) -> bool:
    """Tell whether two mentions of one noun exclude each other: by colour, size, state or number.

    Numbers are not compared where one of the mentions is a setting.
    """
    numbers = {one.number, other.number}
    counted = not (one.is_setting or other.is_setting) and len(numbers) == 2 and None not in numbers
    if counted and (1 in numbers or PLURAL not in numbers):
        return True
    return any(kind != "plain" and kind in other.kinds and other.kinds[kind] != v for kind, v in one.kinds.items())


# --- Noun phrases -----------------------------------------------------------------------------------------------------
def mentions_of(phrase: Tagged) -> tuple[Mention, ...]:
    """Find the noun phrases of a tagged phrase, in order."""
    found: list[Mention] = []
    position, total = 0, len(phrase.tags)
    while position < total:
        if phrase.tags[position] not in "DQAN":
            position += 1
            continue
        end = _chunk_end(phrase, position)
        start, end = _with_collective(phrase, position, end)
        mention = _mention(phrase, start, end, found)
        position = end
        if mention is not None:
            found.append(mention)
    return tuple(found)


def _chunk_end(phrase: Tagged, start: int) -> int:
    """Return the end of the noun phrase that begins at `start`."""
    tags, seen_noun, position = phrase.tags, False, start
    while position < len(tags):
        kind = tags[position]
        if kind == "N":
            seen_noun = True
        elif kind == "S" and seen_noun:  # 's
            seen_noun = False
        elif seen_noun or not _stands_before_noun(phrase, position):
            break
        position += 1
    return position


def _stands_before_noun(phrase: Tagged, position: int) -> bool:
    kind = phrase.tags[position]
    if kind in ",C":  # "black and white"
        return phrase.tags[position - 1] == "A" and phrase.tags[position + 1 : position + 2] == "A"
    return kind in "DQA" or kind == "R" and phrase.words[position] in w.INTENSIFIERS


def _with_collective(phrase: Tagged, start: int, end: int) -> tuple[int, int]:
    """Extend "a group" to the range of "a group of people". Other ranges stay as they are."""
    collective = phrase.words[end - 1] in w.COLLECTIVES | w.PAIRS | w.MANY_WORDS
    if collective and phrase.words[end : end + 1] == ("of",) and phrase.tags[end + 1 : end + 2] in ("N", "A", "Q", "D"):
        return start, _chunk_end(phrase, end + 1)
    return start, end


def _mention(phrase: Tagged, start: int, end: int, earlier: list[Mention]) -> Mention | None:
    nouns = [position for position in range(start, end) if phrase.tags[position] in "NA"]
    if not nouns:
        if phrase.tags[start] != "Q":
            return None
        nouns = [end - 1]
    noun_at = nouns[-1]
    noun = canonical(phrase.words[noun_at])
    if noun in w.EMPTY_WORDS:
        return None
    relation, related = _relation(phrase, start, earlier)
    place = w.PLACES.get(phrase.words[noun_at]) or w.PLACES.get(noun)
    inside = phrase.words[start:end]
    return Mention(
        start=start,
        end=end,
        noun=noun,
        number=_number(inside, phrase.words[noun_at]),
        kinds=_kinds(phrase, start, noun_at),
        relation=relation,
        related=related,
        place=place,
        is_setting=start > 0 and not is_near(phrase, start) and (place is not None or noun in w.SETTING_ONLY),
    )


def is_near(phrase: Tagged, start: int) -> bool:
    """Tell whether the noun phrase at `start` is said to be near, as in "next to a table"."""
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


def _kinds(phrase: Tagged, start: int, noun: int) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for word, kind in zip(phrase.words[start:noun], phrase.tags[start:noun], strict=True):
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
    """Return the relation of a noun phrase to those before it, and their nouns.

    They are the last one and, where that is the object of a verb or worn, the subject too.
    """
    before = start - 1
    if before < 0 or phrase.tags[before] != "P" or not earlier:
        return None, frozenset()
    related = {earlier[-1].noun}
    last = earlier[-1].start
    if last > 0 and (phrase.tags[last - 1] == "V" or _is_worn(phrase, earlier[-1], before)):
        related.add(earlier[0].noun)
    return w.RELATIONS.get(phrase.words[before]), frozenset(related)


def _is_worn(phrase: Tagged, mention: Mention, before: int) -> bool:
    """Tell whether a verb after clothes is the subject's: "a woman in a red hat sitting on a bench"."""
    return mention.noun in n.WORN and "V" in phrase.tags[mention.end : before]
