"""Tell whether what a caption adds is certainly another thing than all that is named, and in the same scene."""

from collections.abc import Iterable, Sequence

from icsd.merger import nouns as n
from icsd.merger import words as w
from icsd.merger.draft import Draft
from icsd.merger.mentions import Mention, contradict
from icsd.merger.reading import Reading

MAX_PHRASES = 3  # where not all are simple
_PLAIN_KINDS = frozenset(("colour", "size"))


def is_another(reading: Reading, draft: Draft) -> bool:
    """Tell whether the subjects of `reading` are other things than those of the draft, and in the same scene.

    "A surfer" may be "a man" in other words, and "a meal" "a plate of food". Single things with no more than a colour
    and a size can be in any scene. Others need a tie to the draft: its place, or a thing that it names.
    """
    named = list(draft.mentions())
    subjects = reading.mentions[: reading.subjects]
    heads = [mention for phrase in draft.phrases for mention in phrase.mentions[: phrase.subjects]]
    if share_a_kind(subjects, named, strict=True) or share_a_kind(heads, reading.mentions, strict=True):
        return False
    if _is_simple(reading) and all(map(_is_simple, draft.phrases)):
        return True
    if len(draft.phrases) == MAX_PHRASES or reading.tokens[0] == "the" or any(map(_is_place, subjects)):
        return False
    if not all(map(_kind, (*subjects, *heads))) or not _is_tied(reading, draft):
        return False
    acted_on = [mention for mention in reading.mentions if mention.noun in {head.noun for head in heads}]
    used = any(mention.relation in ("on", "in") for mention in acted_on)  # "a bike parked" is not ridden
    return not acted_on or not used and reading.verbs <= n.RESTING | n.WATCHING


def share_a_kind(some: Iterable[Mention], others: Iterable[Mention], *, strict: bool = False) -> bool:
    """Tell whether two different nouns are of one kind, so that they may mean one thing.

    Two words for one place, such as "grass" and "meadow", count only if `strict`.
    """
    known = list(others)
    return any(
        _kind(one) == _kind(other) and one.noun != other.noun and (strict or not one.place or one.place != other.place)
        for one in some
        if _kind(one) is not None
        for other in known
    )


def _is_place(mention: Mention) -> bool:
    return mention.place is not None or _kind(mention) == "ground"


def _kind(mention: Mention) -> str | None:
    return n.KINDS.get(mention.noun)


def _is_simple(reading: Reading) -> bool:
    """Tell whether a phrase names single things by colour and size alone, of which none does anything."""
    things = [mention for mention in reading.mentions if not mention.is_setting]
    plain = all(mention.number in (1, None) and mention.kinds.keys() <= _PLAIN_KINDS for mention in things)
    return plain and reading.verbs <= n.STILL_VERBS


def _is_tied(reading: Reading, draft: Draft) -> bool:
    """Tell whether the caption names the place of the draft, or a thing of it."""
    if reading.settings.get("place", frozenset()) & draft.places():
        return True
    things = [mention for mention in draft.mentions() if not mention.is_setting]
    return any(
        claim.noun == thing.noun and not contradict(claim, thing) and claim.related
        for claim in reading.mentions[reading.subjects :]
        for thing in things
    )


MAX_PARTS = 4  # of the predicate of a joined phrase: more read badly


def is_short(phrase: Reading, reading: Reading, added: Sequence[tuple[int, int]], draft: Draft) -> bool:
    """Tell whether a caption adds one part to a phrase, or a verb with the part that follows. Simple ones add more."""
    if not added or _is_simple(phrase) and _is_simple(reading):
        return True
    if "W" in phrase.tags or len(phrase.segments) + len(added) > MAX_PARTS:
        return False
    elsewhere = {m.noun for other in draft.phrases if other is not phrase for m in other.mentions}
    if any(m.noun in elsewhere for start, end in added for m in reading.mentions if start <= m.start < end):
        return False
    if len(added) == 1:
        return True
    (_, end), (start, _) = added[:2]
    return len(added) == 2 and end == start and "V" in reading.tags[added[0][0] : end] and reading.tags[end - 1] in "VR"


def is_worn(reading: Reading, segment: tuple[int, int]) -> bool:
    """Tell whether a part says what its subject wears or looks like: "in a red hat". It stands behind the subject."""
    start, end = segment
    claims = [mention for mention in reading.mentions if start <= mention.start < end]
    return reading.tokens[start] in ("in", "with") and bool(claims) and all(m.noun in n.WORN for m in claims)


def fits_beside(phrase: Reading, reading: Reading, segment: tuple[int, int]) -> bool:
    """Tell whether a part of a predicate names other things than the phrase, in another relation, without pronouns."""
    start, end = segment
    claims = [mention for mention in reading.mentions if start <= mention.start < end]
    rest = phrase.mentions[phrase.subjects :]
    simple = _is_simple(phrase) and _is_simple(reading)
    if share_a_kind(claims, phrase.mentions, strict=not simple):
        return False
    if simple:
        return True
    named = {mention.noun for mention in phrase.mentions}
    if any(reading.tokens[m.start] == "the" and not m.place and m.noun not in named for m in claims):
        return False  # "the hat" is one that another caption knows
    if not n.UNCLEAR_OWNERS.isdisjoint(token.lower() for token in reading.tokens[start:end]):
        return False
    first = reading.tokens[start].lower()
    if reading.tags[start] == "V" and claims and claims[0].noun in named:
        return False  # "a man on a bike riding the bike"
    if reading.tags[start] == "P" and first not in n.ADDING_PREPOSITIONS:
        return False
    if first == "with" and not is_worn(reading, segment) and not phrase.verbs <= n.RESTING | n.STROLLING:
        return False  # "with a skateboard" may be what the subject does instead
    relation = w.RELATIONS.get(first)
    return relation is None or all(relation != w.RELATIONS.get(phrase.tokens[m.start - 1].lower()) for m in rest)
