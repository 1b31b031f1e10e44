"""Tell whether a tagged phrase is one that the merger understands: noun phrases, prepositions and participles.

The grammar is one regular expression over the tags of `tagging`, and a table of doubts about single words. A phrase
outside of it may be good English; the merger leaves it out, since it cannot tell what would become of it.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from icsd.merger import nouns as n
from icsd.merger import words as w
from icsd.merger.inflection import base_of, canonical, is_plural, singular
from icsd.merger.markers import ABSTRACT
from icsd.merger.tagging import Tagged

# --- The grammar, over tags -------------------------------------------------------------------------------------------
_ADJECTIVES = r"(?:(?:R?A,?)+(?:CR?A)?)?"
_SIMPLE = rf"(?:D{{0,2}}Q{{0,2}}{_ADJECTIVES}N{{1,3}}(?:S{_ADJECTIVES}N{{1,3}})?)"
_NOUN_PHRASE = rf"(?:{_SIMPLE}(?:F{_SIMPLE}){{0,2}})"
_LIST = rf"(?:{_NOUN_PHRASE}(?:(?:,{_NOUN_PHRASE})*,?C{_NOUN_PHRASE})?)"
_PREPOSITIONAL = rf"(?:R{{0,2}}P{{1,2}}(?:{_LIST}|O))"
_PARTICIPIAL = rf"(?:W?R?VR{{0,2}}(?:{_LIST}|O|A(?![NA]))?)"
_EXISTENTIAL = r"(?:R{1,2}X)?"  # "indoors there is"
_WHOLE = re.compile(rf"{_EXISTENTIAL}{_LIST}(?:,?C?(?:{_PREPOSITIONAL}|{_PARTICIPIAL})|R)*")
_CHUNK = re.compile(rf"{_SIMPLE}")


@lru_cache(maxsize=2**13)
def is_whole(phrase: Tagged) -> bool:
    """Tell whether the merger understands all of a phrase."""
    return _WHOLE.fullmatch(phrase.tags) is not None and not any(doubt(phrase) for doubt in _DOUBTS)


# --- Doubts about words -----------------------------------------------------------------------------------------------
def _noun_phrases(phrase: Tagged) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield words, tags and the tag before of each simple noun phrase."""
    for match in _CHUNK.finditer(phrase.tags):
        start, end = match.span()
        yield phrase.words[start:end], phrase.tags[start:end], phrase.tags[start - 1] if start else ""


def _has_odd_word(phrase: Tagged) -> bool:
    return not n.ODD_WORDS.isdisjoint(phrase.words)


def _has_finite_verb(phrase: Tagged) -> bool:
    """Tell whether a verb is no participle, or is the past tense of a sentence: "the team scored a goal"."""
    for position, (word, kind) in enumerate(zip(phrase.words, phrase.tags, strict=True)):
        if kind != "V" or word.endswith("ing"):
            continue
        if base_of(word) or word in w.VERBS - w.IRREGULAR_PARTICIPLES or word in n.PAST_TENSES:
            return True
        if phrase.tags[position + 1 : position + 2] in ("D", "Q", "N", "O"):
            return True
    return False


def _has_verb_of_clause(phrase: Tagged) -> bool:
    """Tell whether a clause word is followed by more than a participle in -ing: "a man while he rides"."""
    for position, kind in enumerate(phrase.tags):
        if kind == "W":
            after = phrase.words[position + 1 : position + 2]
            if phrase.words[position] not in ("while", "when") or not (after and after[0].endswith("ing")):
                return True
    return False


def _numbers_differ(phrase: Tagged) -> bool:
    """Tell whether article and noun differ in number: "a maple leaves" is no noun phrase."""
    for words, tags, _ in _noun_phrases(phrase):
        head = words[-1]
        if "S" in tags or head in w.COLLECTIVES | w.PAIRS:
            continue
        one = words[0] in n.SINGULAR_ONLY and not w.MANY_WORDS.intersection(words[1:2])
        if one and (is_plural(head) or head in n.PLURAL_ONLY):
            return True
        counted = any(w.NUMBERS.get(word, 1) > 1 or word in n.PLURAL_STARTS for word in words[:-1])
        if counted and not (is_plural(head) or head in w.SAME_IN_PLURAL or head in n.MASS):
            return True
    return False


def _has_plural_before_noun(phrase: Tagged) -> bool:
    """Tell whether a plural stands before another noun, which then may be a verb: "two birds perch"."""
    for words, tags, _ in _noun_phrases(phrase):
        pairs = zip(words, words[1:], tags, tags[1:], strict=False)
        if any(
            one == two == "N" and (_is_plural_head(first) or base_of(second) or second in n.VERB_LIKE)
            for first, second, one, two in pairs
        ):
            return True
    return False


def _is_plural_head(word: str) -> bool:
    return (is_plural(word) or word in w.SAME_IN_PLURAL) and word not in n.PLURAL_ATTRIBUTES


def _may_end_in_verb(phrase: Tagged) -> bool:
    """Tell whether a noun without an article may be the verb: "a man in white talks to friends"."""
    return any(
        before == "P" and tags[0] == "A" and len(words) == 2 and (base_of(words[1]) or words[1] in w.VERBS)
        for words, tags, before in _noun_phrases(phrase)
    )


def _is_bare(phrase: Tagged) -> bool:
    """Tell whether a noun that needs an article has none: "dog on table"."""
    for words, tags, before in _noun_phrases(phrase):
        head = words[-1]
        if tags[0] in "DQ" or "S" in tags or is_plural(head) or head in w.SAME_IN_PLURAL or head in n.MASS:
            continue
        known = singular(head) in n.KINDS or canonical(head) in w.PLACES
        if (before == "" or known) and head not in n.MAY_BE_BARE:
            return True
    return False


def _is_abstract(phrase: Tagged) -> bool:
    """Tell whether the subject is nothing to draw: "a great idea for a cake"."""
    subject = next(_noun_phrases(phrase), None)
    return subject is None or singular(subject[0][-1]) in ABSTRACT | w.EMPTY_WORDS


def _has_gerund_as_noun(phrase: Tagged) -> bool:
    """Tell whether a noun in -ing may be a verb: "a young female dancing"."""
    pairs = zip(phrase.words, phrase.tags, strict=True)
    return any(kind == "N" and word.endswith("ing") and word not in w.ING_NOUNS for word, kind in pairs)


def _has_first_verb_after_and(phrase: Tagged) -> bool:
    """Tell whether "and" comes before the first verb: "pots, pans and cooking utensils"."""
    first = phrase.tags.find("V")
    return first > 0 and phrase.tags[first - 1] == "C"


def _repeats_word(phrase: Tagged) -> bool:
    return any(one == two for one, two in zip(phrase.words, phrase.words[1:], strict=False))


def _has_two_determiners(phrase: Tagged) -> bool:
    pairs = zip(phrase.words, phrase.tags, phrase.tags[1:], strict=False)
    return any(one == two == "D" and word not in ("all", "both", "half") for word, one, two in pairs)


def _has_odd_prepositions(phrase: Tagged) -> bool:
    """Tell whether two prepositions follow each other as they never do: "over under a microwave"."""
    pairs = zip(phrase.words, phrase.tags, phrase.tags[1:], strict=False)
    return any(one == two == "P" and word not in n.LEADING_PREPOSITIONS for word, one, two in pairs)


def _ends_open(phrase: Tagged) -> bool:
    """Tell whether the phrase ends in a verb that needs an object: "a man holding"."""
    return phrase.tags[-1] == "V" and phrase.words[-1] in n.TRANSITIVE


def _joins_other_than_and(phrase: Tagged) -> bool:
    return any(kind == "C" and word != "and" for word, kind in zip(phrase.words, phrase.tags, strict=True))


_DOUBTS: tuple[Callable[[Tagged], bool], ...] = (
    _has_odd_word,
    _has_finite_verb,
    _has_verb_of_clause,
    _numbers_differ,
    _has_plural_before_noun,
    _may_end_in_verb,
    _is_bare,
    _is_abstract,
    _has_gerund_as_noun,
    _has_first_verb_after_and,
    _repeats_word,
    _has_two_determiners,
    _has_odd_prepositions,
    _ends_open,
    _joins_other_than_and,
)
