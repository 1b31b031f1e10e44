"""Add a caption to the draft: to the phrase about the same subject, or as a phrase of its own."""

from collections.abc import Iterator, Sequence

from icsd.merger import nouns as n
from icsd.merger import words as w
from icsd.merger.another import fits_beside, is_another, is_short, is_worn
from icsd.merger.draft import Draft, same_place
from icsd.merger.inflection import article, stem
from icsd.merger.mentions import Mention, contradict, covers
from icsd.merger.reading import Reading, reread


# --- More about the same subject --------------------------------------------------------------------------------------
def extend(phrase: Reading, reading: Reading, draft: Draft) -> Reading | None:
    """Return `phrase` with the adjectives and the parts of the predicate that `reading` adds.

    None if the two cannot be said in one phrase.
    """
    subjects = [mention.noun for mention in phrase.mentions[: phrase.subjects]]
    others = {mention.noun for mention in (*phrase.mentions[phrase.subjects :], *reading.mentions[reading.subjects :])}
    if phrase.is_finite or reading.is_finite or not _tail_is_plain(reading) or others & set(subjects):
        return None
    added = [segment for segment in reading.segments if not _is_said(phrase, reading, segment, draft)]
    if not _are_whole(reading, added) or not is_short(phrase, reading, added, draft):
        return None
    if len(added) < len(reading.segments) and reading.refers_back(reading.segments[0][0], len(reading.tokens)):
        return None
    if not all(_may_join(phrase, reading, segment) for segment in added):
        return None
    tokens = list(phrase.tokens)
    for position, segment in _insertions(phrase, reading, added):
        tokens[position:position] = _segment_tokens(reading, segment, draft, tokens[:position])
    return _with_adjectives(reread(tuple(tokens)), reading)


def _are_whole(reading: Reading, added: Sequence[tuple[int, int]]) -> bool:
    """Tell whether each new verb keeps the part that follows it: "looking" needs "at a board"."""
    verbs_alone = {end for start, end in added if "V" in reading.tags[start:end] and reading.tags[end - 1] in "VR"}
    return all(start not in verbs_alone for start, _ in reading.segments if (start, _) not in added)


def _may_join(phrase: Reading, reading: Reading, segment: tuple[int, int]) -> bool:
    """Tell whether a part of the predicate can stand beside those of the phrase: one action at a time, in one place."""
    start, end = segment
    named = {mention.noun for mention in phrase.mentions}
    nouns = [mention.noun for mention in reading.mentions if start <= mention.start < end]
    if nouns and named.issuperset(nouns) or not fits_beside(phrase, reading, segment):
        return False
    if reading.tokens[start] in ("up", "down") and stem(reading.tokens[start - 1].lower()) not in _MOTIONS:
        return False
    if reading.tags[start] != "V":
        return reading.tokens[start] not in phrase.tokens
    verb = stem(reading.tokens[start].lower())
    return "V" not in phrase.tags or verb not in phrase.verbs and _accompanies(verb, phrase)


def _accompanies(verb: str, phrase: Reading) -> bool:
    """Tell whether the subject can do it beside what it does. One such verb is joined by "and", no second."""
    if "CV" in phrase.tags or verb in n.WATCHING and not phrase.verbs <= n.RESTING:
        return False
    if verb in n.HOLDING and not phrase.verbs <= n.RESTING | n.STROLLING:
        return False
    return verb in _ACCOMPANYING


_MOTIONS = frozenset(stem(verb) for verb in w.MOTIONS)
_ACCOMPANYING = frozenset(stem(verb) for verb in w.ACCOMPANYING)


def _tail_is_plain(reading: Reading) -> bool:
    """Tell whether each part of the predicate can follow another phrase with the same subject."""
    return all(reading.tags[start] in "PVR" for start, _ in reading.segments)


def _is_said(phrase: Reading, reading: Reading, segment: tuple[int, int], draft: Draft) -> bool:
    """Tell whether a part of the predicate adds nothing to the phrase."""
    start, end = segment
    if end == start + 1 and reading.tokens[start] in w.SIDE_ADVERBS:
        return any(reading.tokens[start] in other.tokens for other in draft.phrases)
    claims = [mention for mention in reading.mentions if start <= mention.start < end]
    verbs = _verbs(reading, segment)
    if not verbs <= phrase.verbs or not (claims or verbs):
        return False
    for claim in claims:
        same = [mention for mention in phrase.mentions if _is_same(mention, claim)]
        if not same and not (claim.is_setting and claim.place in draft.places()):
            return False
        if claim.relation and not claim.place and not any(claim.relation == mention.relation for mention in same):
            return False
    return True


def _verbs(reading: Reading, segment: tuple[int, int]) -> frozenset[str]:
    """Return the stems of the verbs in a part of a phrase."""
    pairs = zip(reading.tokens[segment[0] : segment[1]], reading.tags[segment[0] : segment[1]], strict=True)
    return frozenset(stem(token.lower()) for token, kind in pairs if kind == "V")


def _is_same(mention: Mention, claim: Mention) -> bool:
    """Tell whether the two can be one thing, so that adjectives of `claim` can be added to `mention`."""
    return (claim.noun == mention.noun or covers(mention, claim)) and not contradict(mention, claim)


def _insertions(
    phrase: Reading, reading: Reading, added: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield each new part with the position where it is inserted, from the last position to the first.

    A part goes behind the noun that it follows in its own caption, else to the end.
    """
    insertions = []
    for segment in added:
        before = next((m for m in reversed(reading.mentions) if m.end == segment[0]), None)
        position = len(phrase.tokens)
        if is_worn(reading, segment):
            position = phrase.mentions[phrase.subjects - 1].end
        elif before is not None and before.start > 0 and reading.tags[segment[0]] == "P":
            position = next((m.end for m in phrase.mentions if m.noun == before.noun), position)
        insertions.append((position, segment))
    order = sorted(range(len(insertions)), key=lambda number: (-insertions[number][0], -number))
    return (insertions[number] for number in order)


def _segment_tokens(reading: Reading, segment: tuple[int, int], draft: Draft, before: list[str]) -> list[str]:
    """Return the tokens of a part. A second verb is joined by "and"."""
    tokens = _with_definite(reading, segment, draft)
    opens_with_verb = reading.tags[segment[0]] == "V"
    earlier = reread(tuple(before))
    return ["and", *tokens] if opens_with_verb and earlier is not None and "V" in earlier.tags else tokens


def _with_definite(reading: Reading, segment: tuple[int, int], draft: Draft) -> list[str]:
    """Return the tokens of a part, with "the" before nouns that the draft names already."""
    start, end = segment
    tokens = list(reading.tokens[start:end])
    named = {mention.noun for mention in draft.mentions()}
    for mention in reading.mentions:
        if start <= mention.start < end and mention.noun in named and tokens[mention.start - start] in ("a", "an"):
            tokens[mention.start - start] = "the"
    return tokens


def _with_adjectives(phrase: Reading | None, reading: Reading) -> Reading | None:
    """Return `phrase` with the adjectives that `reading` gives its nouns: "a ball", "a red ball" -> "a red ball"."""
    if phrase is None:
        return None
    for number in reversed(range(len(phrase.mentions))):
        mention = phrase.mentions[number]
        claim = next((claim for claim in reading.mentions if _is_same(mention, claim)), None)
        if claim is not None and not covers(mention, claim):
            tokens = _qualified(phrase, mention, reading, claim)
            phrase = reread(tokens) if tokens is not None else None
            if phrase is None:
                return None
    return phrase


MAX_ADJECTIVES = 3  # kinds of adjectives on one noun: more read badly
_RANKS = {"plain": 1, "size": 2, "age": 3, "shape": 4, "colour": 5, "material": 6, "noun": 7}


def _qualified(phrase: Reading, mention: Mention, reading: Reading, claim: Mention) -> tuple[str, ...] | None:
    """Return the tokens of `phrase` with the adjectives of `claim` that `mention` lacks, in the usual order."""
    inside = list(phrase.tokens[mention.start : mention.end])
    if "of" in inside or not n.GLUED.isdisjoint((*inside, *reading.tokens[claim.start : claim.end])):
        return None
    if len(mention.kinds) + len(claim.kinds.keys() - mention.kinds.keys()) > MAX_ADJECTIVES:
        return None
    missing = {kind for kind, values in claim.kinds.items() if not values <= mention.kinds.get(kind, frozenset())}
    for kind in sorted(missing, key=lambda kind: _RANKS.get(kind, 1)):
        words = _words_of_kind(reading, claim, kind)
        if set(words) & set(inside) - {"and"}:
            return None
        if kind in mention.kinds and kind not in ("plain", "noun"):
            return None
        position = next((i for i, word in enumerate(inside[:-1]) if _rank(word) > _RANKS.get(kind, 1)), len(inside) - 1)
        while position > 0 and inside[position - 1].lower() in w.INTENSIFIERS:
            position -= 1
        inside[position:position] = words
    if len(inside) > 1 and inside[0].lower() in ("a", "an"):
        inside[0] = article(inside[1])
    return (*phrase.tokens[: mention.start], *inside, *phrase.tokens[mention.end :])


def _rank(word: str) -> int:
    word = word.lower()
    if word in w.DETERMINERS or word in w.NUMBERS or word in w.MANY_WORDS or word in w.INTENSIFIERS:
        return 0
    kind = w.ADJECTIVES.get(word)
    return _RANKS.get(kind[0], 1) if kind else 1 if word in w.PLAIN_ADJECTIVES else 7


def _words_of_kind(reading: Reading, claim: Mention, kind: str) -> list[str]:
    """Return the adjectives of one kind in a noun phrase, from the first to the last: "black and white"."""
    inside = list(reading.tokens[claim.start : claim.end - 1])
    found = [i for i, word in enumerate(inside) if _RANKS.get(kind, 1) == _rank(word)]
    return inside[found[0] : found[-1] + 1] if found else []


# --- Another subject --------------------------------------------------------------------------------------------------
def new_phrase(reading: Reading, draft: Draft) -> Reading | None:
    """Return the caption as a further phrase of the draft, without a place that the draft names already.

    None if the draft names its subject already.
    """
    named = {mention.noun for mention in draft.mentions()}
    subjects, rest = reading.mentions[: reading.subjects], reading.mentions[reading.subjects :]
    if reading.is_finite or any(mention.noun in named for mention in subjects) or not is_another(reading, draft):
        return None
    if any(mention.noun in named and not _is_definable(reading, mention) for mention in rest):
        return None
    end = len(reading.tokens)
    while (cut := _repeated_place(reading, end, draft)) is not None:
        end = cut
    while reading.tags[end - 1] in ",C":
        end -= 1
    return reread(tuple(_with_definite(reading, (0, end), draft)))


def _is_definable(reading: Reading, mention: Mention) -> bool:
    """Tell whether a second mention clearly means the thing named before."""
    return mention.is_setting or reading.tags[mention.start] == "D"


def _repeated_place(reading: Reading, end: int, draft: Draft) -> int | None:
    """Return the end of the phrase without its last part, if that part only repeats where the scene is."""
    last = next(((start, stop) for start, stop in reversed(reading.segments) if stop == end), None)
    if last is not None and end == last[0] + 1 and reading.tokens[last[0]] in w.SIDE_ADVERBS:
        return last[0] if any(reading.tokens[last[0]] in phrase.tokens for phrase in draft.phrases) else None
    if last is None or reading.tags[last[0]] != "P":
        return None
    inside = [mention for mention in reading.mentions if last[0] <= mention.start < end]
    if len(inside) != 1 or not inside[0].is_setting or inside[0].place is None:
        return None
    repeated = any(same_place(mention, inside[0]) for mention in draft.mentions())
    return last[0] if repeated and reading.tags[last[0] - 1] not in "VR" else None
