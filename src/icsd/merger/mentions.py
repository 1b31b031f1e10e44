"""Noun phrases of a caption: what each names, in which number, and what is said of it."""

from dataclasses import dataclass

from icsd.merger import words as w
from icsd.merger.inflection import canonical, implied, is_plural
from icsd.merger.tagging import Tagged

PLURAL = -1  # a plural of which the caption gives no number


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
def mentions_of(phrase: Tagged) -> tuple[Mention, ...]:
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
        is_setting=start > 0 and not is_near(phrase, start) and (place is not None or head in w.SETTING_ONLY),
    )


def is_near(phrase: Tagged, start: int) -> bool:
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
