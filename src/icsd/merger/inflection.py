"""Forms of English words, by rule: singular, stem, participle, article."""

from functools import lru_cache

from icsd.merger import words as w


@lru_cache(maxsize=2**16)
def singular(word: str) -> str:
    """Return the singular of a noun: "buses" -> "bus", "people" -> "person". A singular is returned unchanged."""
    if word in w.IRREGULAR_PLURALS:
        return w.IRREGULAR_PLURALS[word]
    if not _ends_like_plural(word):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zzes")) or word.endswith("oes") and len(word) > 5:
        return word[:-2]
    return "bus" if word == "buses" else word[:-1]


def is_plural(word: str) -> bool:
    """Tell whether a noun has the form of a plural."""
    return word in w.IRREGULAR_PLURALS or _ends_like_plural(word)


def _ends_like_plural(word: str) -> bool:
    short = len(word) < 3 or not word.endswith("s") or word.endswith(("ss", "us", "is", "'s"))
    return not (short and word != "skis") and word not in w.ENDS_IN_S and word not in w.SAME_IN_PLURAL


@lru_cache(maxsize=2**16)
def canonical(noun: str) -> str:
    """Return one word for all forms and close synonyms of a noun: "sofas" -> "couch"."""
    form = singular(noun.lower().removesuffix("'s"))
    return w.SYNONYMS.get(form, form)


@lru_cache(maxsize=2**14)
def implied(noun: str) -> frozenset[str]:
    """Return the broader words that a canonical noun implies: "puppy" -> {"dog", "animal"}."""
    found: list[str] = []
    while (noun := w.BROADER.get(noun, "")) and noun not in found:
        found.append(noun)
    return frozenset(found)


@lru_cache(maxsize=2**16)
def stem(verb: str) -> str:
    """Return one string for all regular forms of a verb: "rides", "riding", "ride" -> "rid"."""
    for ending in ("ing", "ied", "ies", "ed", "es", "s", "e", "y"):
        if verb.endswith(ending) and len(verb) - len(ending) >= 2:
            root = verb[: -len(ending)]
            break
    else:
        return verb
    doubled = len(root) > 2 and root[-1] == root[-2] and root[-1] not in "lsz"
    return root[:-1] if doubled else root


@lru_cache(maxsize=2**12)
def base_of(word: str) -> str | None:
    """Return the base form of a known verb in the third person: "rides" -> "ride". None for any other word."""
    if word.endswith("ies") and word[:-3] + "y" in w.VERBS:
        return word[:-3] + "y"
    for ending in ("es", "s"):
        if word.endswith(ending) and word[: -len(ending)] in w.VERBS:
            return word[: -len(ending)]
    return None


def participle(base: str) -> str:
    """Return the present participle: "ride" -> "riding", "sit" -> "sitting", "lie" -> "lying"."""
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")) and base != "be":
        return base[:-1] + "ing"
    return base + (base[-1] if base in w.DOUBLING else "") + "ing"


def article(next_word: str) -> str:
    """Return "a" or "an" for the word that follows, by the sound that its letters suggest."""
    word = next_word.lower()
    if word in w.VOWEL_EXCEPTIONS:
        return "an"
    return "an" if word[:1] in "aeiou" and word.split("-")[0] not in w.CONSONANT_EXCEPTIONS else "a"
