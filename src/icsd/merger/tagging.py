"""Tag the words of a caption: "There is a man riding a wave." -> a/D man/N riding/V a/D wave/N.

Tags: D determiner, Q number, A adjective, N noun, S possessive 's, V verb, X auxiliary, P preposition, F "of",
R adverb, O pronoun, W clause word, C conjunction, "," comma.
"""

import re
from dataclasses import dataclass

from icsd.merger import words as w
from icsd.merger.inflection import base_of, is_plural, participle

_TOKEN = re.compile(r"[^\W_]+(?:['\-][^\W_]+)*(?:(?<=s)'(?=\s\w))?|[,.;:!?]")  # "dogs' heads" keeps its apostrophe
_APART = re.compile(r"(?<=\w) '(?=(?:s|re|ve|ll|d|m)\b)", re.IGNORECASE)  # "there 's", as some corpora split it
_CLOSED = {
    **dict.fromkeys(w.ADVERBS, "R"), **dict.fromkeys(w.PREPOSITIONS, "P"), **dict.fromkeys(w.PRONOUNS, "O"),
    **dict.fromkeys(w.CLAUSE_WORDS, "W"), **dict.fromkeys(w.CONJUNCTIONS, "C"), **dict.fromkeys(w.AUXILIARIES, "X"),
    **dict.fromkeys(w.NUMBERS, "Q"), **dict.fromkeys(w.MANY_WORDS, "Q"), **dict.fromkeys(w.DETERMINERS, "D"),
    **dict.fromkeys(w.PAIRS | w.COLLECTIVES, "N"), ",": ",", "of": "F",
}  # fmt: skip
_ADJECTIVES = frozenset(w.ADJECTIVES) | w.PLAIN_ADJECTIVES
_ALSO_NOUNS = frozenset(word for word, (kind, _) in w.ADJECTIVES.items() if kind in ("material", "shape")) | frozenset(
    "orange cream gold silver baby toy adult public cold male female".split()
)
_COMPOUND_STARTS = frozenset(compound.split("_")[0] for compound in w.COMPOUNDS)
_LONGEST = max(compound.count("_") + 1 for compound in w.COMPOUNDS)
_SEEN = (("can", "be", "seen"), ("is", "seen"), ("are", "seen"), ("is", "shown"), ("are", "shown"), ("is", "pictured"))
_LEADS = tuple(
    tuple(lead.split())
    for lead in (
        "there is|there are|there's|this is|these are|here is|here are|it is|it's|we see|you can see|we can see|i see|"
        "picture of|photo of|photograph of|image of|pictures of|photos of|close-up of|closeup of|close up of|view of|"
        "shot of"
    ).split("|")
)


@dataclass(frozen=True, slots=True)
class Tagged:
    """A phrase: its tokens as printed, the same in lower case, and one tag per token. Compounds have underscores."""

    tokens: tuple[str, ...]
    words: tuple[str, ...]
    tags: str


def tag(caption: str | tuple[str, ...]) -> Tagged:
    """Tag a caption, which becomes a noun phrase, or the tokens of a phrase, whose wording stays."""
    if not isinstance(caption, str):
        return _tagged(list(caption))
    tokens = _with_place_last(_without_lead(_compounds(_tokens(caption))))
    return _as_phrase(_tagged(tokens))


def _tagged(tokens: list[str]) -> Tagged:
    words = tuple(token.lower() for token in tokens)
    return Tagged(tuple(tokens), words, _tags(words))


# --- From text to tokens ----------------------------------------------------------------------------------------------
def _tokens(caption: str) -> list[str]:
    """Split a caption into words and commas. A sentence's end within the caption becomes a comma."""
    text = caption.lower() if caption.isupper() else caption
    tokens = [token if token[0].isalnum() else "," for token in _TOKEN.findall(_APART.sub("'", text.replace("’", "'")))]
    while tokens and tokens[-1] == ",":
        tokens.pop()
    while tokens and tokens[0] == ",":
        tokens.pop(0)
    tokens = [token for position, token in enumerate(tokens) if token != "," or tokens[position - 1] != ","]
    return [token.lower() if _starts_sentence(tokens, position) else token for position, token in enumerate(tokens)]


def _starts_sentence(tokens: list[str], position: int) -> bool:
    token = tokens[position]
    return (position == 0 or tokens[position - 1] == ",") and (len(token) == 1 or not token.isupper()) and token != "I"


def _compounds(tokens: list[str]) -> list[str]:
    """Join the words of compounds: "next", "to" -> "next_to"."""
    joined: list[str] = []
    position = 0
    while position < len(tokens):
        length = 1
        if tokens[position].lower() in _COMPOUND_STARTS:
            candidates = range(min(_LONGEST, len(tokens) - position), 1, -1)
            length = next(
                (n for n in candidates if "_".join(tokens[position : position + n]).lower() in w.COMPOUNDS), 1
            )
        joined.append("_".join(tokens[position : position + length]))
        position += length
    return joined


def _without_lead(tokens: list[str]) -> list[str]:
    """Remove "there is", "a picture of" and the like. A place before "there is" moves to the end."""
    words = [token.lower() for token in tokens]
    if len(words) > 4 and words[-3] == "in" and words[-2] in ("this", "the") and words[-1] in w.EMPTY_WORDS:
        return _without_lead(tokens[:-3])  # "in this picture"
    for seen in _SEEN:
        for position in range(len(words) - len(seen) + 1):
            if tuple(words[position : position + len(seen)]) == seen and position > 0:
                return _without_lead(tokens[:position] + tokens[position + len(seen) :])
    for position in range(2, min(len(words) - 2, 9)):
        if words[position] == "there" and words[position + 1] in w.COPULAS and words[0] in w.PREPOSITIONS:
            return tokens[position + 2 :] + [token for token in tokens[:position] if token != ","]
    for lead in _LEADS:
        skip = 1 if words[:1] in (["a"], ["an"], ["the"]) and lead[-1] == "of" else 0
        if tuple(words[skip : skip + len(lead)]) == lead and len(words) > skip + len(lead):
            return _without_lead(tokens[skip + len(lead) :])
    return tokens


def _with_place_last(tokens: list[str]) -> list[str]:
    """Move a leading place to the end: "In the park, a dog runs" -> "a dog runs in the park"."""
    if tokens and tokens[0].lower() in w.PREPOSITIONS and tokens.count(",") == 1:
        comma = tokens.index(",")
        return tokens[comma + 1 :] + tokens[:comma]
    return tokens


# --- Tags -------------------------------------------------------------------------------------------------------------
def _tags(words: tuple[str, ...]) -> str:
    tags: list[str] = []
    for position, word in enumerate(words):
        following = words[position + 1] if position + 1 < len(words) else ""
        tags.append(_tag(word, following, words, tags))
    return "".join(tags)


def _tag(word: str, following: str, words: tuple[str, ...], tags: list[str]) -> str:
    before = tags[-1] if tags else ""
    closed = _CLOSED.get(word)
    if closed:
        return _closed_tag(word, closed, following, before)
    if word.isdigit():
        return "Q"
    if word in _ADJECTIVES:
        return "N" if before == "N" and word in _ALSO_NOUNS else _adjective_tag(word, following, before)
    if word.endswith("ly") and before in ("", "N", "V", "X", "R") and len(word) > 4:
        return "R"
    if word.endswith("ing") and len(word) > 4 and word not in w.ING_NOUNS:
        return _ing_tag(following, "".join(tags))
    if _is_past(word):
        attributive = before in ("D", "A", "Q", "P", "C", ",", "") and _is_open(following)
        return "A" if attributive else "V"
    if before == "N" and _is_main_verb(word, following, words, tags):
        return "V"
    return "N"


_ALSO_PREPOSITIONS = frozenset(("inside", "outside", "up", "down"))


def _closed_tag(word: str, closed: str, following: str, before: str) -> str:
    if word in ("that", "whose"):
        return "W" if before in ("N", "V") else "D"
    if word in _ALSO_PREPOSITIONS and (
        following in w.DETERMINERS or closed == "R" and before == "V" and _is_open(following)
    ):
        return "P"
    if word == "like" and before in ("O", ""):
        return "V"
    if word in ("light", "dark") and before == "N":
        return "N"
    if word in ("high", "low") and _is_open(following):
        return "A"
    return closed


def _adjective_tag(word: str, following: str, before: str) -> str:
    """Tag an adjective as a noun where it ends a noun phrase: "glass" in "a man with a glass"."""
    ends = not _is_open(following) and following not in ("and", ",", "or")
    return "N" if ends and before in ("D", "Q") else "A"


def _ing_tag(following: str, tags: str) -> str:
    """Tag a word in -ing: adjective in "a smiling man", noun in "a long meeting", verb in "a man in red riding"."""
    within = tags[len(tags.rstrip("A")) - 1 :] if tags.rstrip("A") else tags
    if tags[-1:] in ("D", "Q", "A") and _is_open(following):
        return "A"
    return "N" if within[:1] in ("D", "Q") else "V"


def _is_open(word: str) -> bool:
    """Tell whether a word can continue a noun phrase."""
    return bool(word) and (word not in _CLOSED or _CLOSED[word] in "NQ")


def _is_past(word: str) -> bool:
    regular = word.endswith("ed") and len(word) > 3 and word not in w.ED_NOUNS
    return regular or word in w.IRREGULAR_PARTICIPLES


def _is_main_verb(word: str, following: str, words: tuple[str, ...], tags: list[str]) -> bool:
    """Tell whether `word`, after a noun, is the finite verb of its clause: "a man rides", "two men ride"."""
    clause = "".join(tags)
    clause = clause[max(clause.rfind("W"), clause.rfind(",")) + 1 :]
    plural = is_plural(words[len(tags) - 1])
    if word in w.VERBS and following in _OBJECT_STARTS:
        return True  # two noun phrases never stand side by side
    if word in w.NOUNS_FIRST and following not in _OBJECT_STARTS:
        return False  # "a maple leaves", "a doll heads"
    is_subject = not clause.strip("DQANSCF")
    if is_subject and ("C" in clause or plural or words[len(tags) - 1] == "couple"):
        return word in w.VERBS or plural and base_of(word) is not None
    if not word.endswith("s") or word.endswith("ss"):
        return False
    phrase = clause[len(clause.rstrip("NAS")) - 1 :]  # begins with the determiner
    if "V" in clause or "X" in clause:
        return base_of(word) is not None and phrase[:1] == "D" and _opens_object(following)
    if plural and base_of(word):
        return True
    if is_subject and "F" not in clause and clause[0] == "D" and following in _OBJECT_STARTS:
        return True  # words.py need not list the verb
    if "F" in clause:
        return False
    short = is_subject and clause.count("N") == 1
    return base_of(word) is not None and (_opens_object(following) or short) and (is_subject or phrase[:1] == "D")


_OBJECT_STARTS = w.ARTICLES | w.POSSESSIVES


def _opens_object(word: str) -> bool:
    return _CLOSED.get(word, "N") in "DPRO" or word in w.NUMBERS or word.endswith("ing")


# --- From a sentence to a phrase --------------------------------------------------------------------------------------
def _as_phrase(sentence: Tagged) -> Tagged:
    """Turn a sentence into a noun phrase: "a man is riding a wave", "a man rides a wave" -> "a man riding a wave".

    A sentence whose verb is not recognised stays as it is.
    """
    clause = sentence.tags.split("W")[0]
    if not clause or clause[0] not in "DQAN":
        return sentence
    if "X" in clause:
        return _without_copula(sentence, clause.index("X"))
    position = clause.find("V")
    if position < 1:
        return sentence
    word = sentence.words[position]
    finite = base_of(word) or (word if word in w.VERBS and clause[position - 1] == "N" else None)
    finite = finite or _guessed_base(word, clause[:position])
    if finite is None:
        return sentence
    tokens = list(sentence.tokens)
    tokens[position] = participle(finite)
    return _tagged(_coordinated(tokens, sentence, position))


def _guessed_base(word: str, before: str) -> str | None:
    """Guess the base form of a verb that words.py does not list."""
    if before[0] != "D" or not word.endswith("s"):
        return None
    return word[:-2] if word.endswith(("ches", "shes", "xes", "sses")) else word[:-1]


def _coordinated(tokens: list[str], sentence: Tagged, start: int) -> list[str]:
    """Turn verbs after "and" into participles: "a man sitting and eats" -> "a man sitting and eating"."""
    for position in range(start + 1, len(tokens)):
        if sentence.tags[position] == "W":
            break
        base = base_of(sentence.words[position])
        if base and sentence.words[position - 1] == "and" and tokens[position + 1 : position + 2] != ["of"]:
            tokens[position] = participle(base)
    return tokens


def _without_copula(sentence: Tagged, position: int) -> Tagged:
    """Remove the auxiliary at `position`: "is riding" -> "riding". "Has a hat" becomes "with a hat"."""
    word, tokens = sentence.words[position], list(sentence.tokens)
    after = position + 1
    while sentence.tags[after : after + 1] == "X":
        after += 1
    following = sentence.tags[after : after + 1]
    if word in ("has", "have") and after == position + 1 and following and following in "DQAN":
        return _tagged([*tokens[:position], "with", *tokens[after:]])
    if word in ("is", "are", "was", "were", "has", "have") and following and following in "VPR":
        return _tagged(tokens[:position] + tokens[after:])
    return sentence
