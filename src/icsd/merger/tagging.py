"""A caption as a phrase of tagged words: "There is a man riding a wave." -> a/D man/N riding/V a/D wave/N.

Tags: D determiner, Q number, A adjective, N noun, S possessive 's, V verb, X auxiliary, P preposition, F "of",
R adverb, O pronoun, W clause word, C conjunction, "," comma.
"""

import re
from dataclasses import dataclass

from icsd.merger import words as w
from icsd.merger.inflection import base_of, is_plural, participle

_TOKEN = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*|[,.;:!?]")
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
    """A phrase: tokens as printed (compound prepositions with underscores), the same in lower case, one tag a token."""

    tokens: tuple[str, ...]
    words: tuple[str, ...]
    tags: str


def tag(caption: str | tuple[str, ...]) -> Tagged:
    """The tagged phrase of a caption as written, or of a phrase's tokens (whose wording is kept)."""
    if not isinstance(caption, str):
        return _tagged(list(caption))
    tokens = _place_last(_without_lead(_compounds(_tokens(caption))))
    return _as_phrase(_tagged(tokens))


def _tagged(tokens: list[str]) -> Tagged:
    words = tuple(token.lower() for token in tokens)
    return Tagged(tuple(tokens), words, _tags(words))


# --- From text to tokens ----------------------------------------------------------------------------------------------
def _tokens(caption: str) -> list[str]:
    """Words and commas; what ends a sentence within the caption becomes a comma."""
    text = caption.lower() if caption.isupper() else caption
    tokens = [token if token[0].isalnum() else "," for token in _TOKEN.findall(text.replace("’", "'"))]
    while tokens and tokens[-1] == ",":
        tokens.pop()
    while tokens and tokens[0] == ",":
        tokens.pop(0)
    tokens = [token for place, token in enumerate(tokens) if token != "," or tokens[place - 1] != ","]
    return [token.lower() if _starts_sentence(tokens, place) else token for place, token in enumerate(tokens)]


def _starts_sentence(tokens: list[str], place: int) -> bool:
    token = tokens[place]
    return (place == 0 or tokens[place - 1] == ",") and (len(token) == 1 or not token.isupper()) and token != "I"


def _compounds(tokens: list[str]) -> list[str]:
    """ "next", "to" -> "next_to"."""
    joined: list[str] = []
    place = 0
    while place < len(tokens):
        length = 1
        if tokens[place].lower() in _COMPOUND_STARTS:
            candidates = range(min(_LONGEST, len(tokens) - place), 1, -1)
            length = next((n for n in candidates if "_".join(tokens[place : place + n]).lower() in w.COMPOUNDS), 1)
        joined.append("_".join(tokens[place : place + length]))
        place += length
    return joined


def _without_lead(tokens: list[str]) -> list[str]:
    """Without "there is", "a picture of" and the like; a place before "there is" goes to the end."""
    words = [token.lower() for token in tokens]
    if len(words) > 4 and words[-3] == "in" and words[-2] in ("this", "the") and words[-1] in w.EMPTY_WORDS:
        return _without_lead(tokens[:-3])  # "in this picture"
    for seen in _SEEN:
        for place in range(len(words) - len(seen) + 1):
            if tuple(words[place : place + len(seen)]) == seen and place > 0:
                return _without_lead(tokens[:place] + tokens[place + len(seen) :])
    for place in range(2, min(len(words) - 2, 9)):
        if words[place] == "there" and words[place + 1] in w.COPULAS and words[0] in w.PREPOSITIONS:
            return tokens[place + 2 :] + [token for token in tokens[:place] if token != ","]
    for lead in _LEADS:
        skip = 1 if words[:1] in (["a"], ["an"], ["the"]) and lead[-1] == "of" else 0
        if tuple(words[skip : skip + len(lead)]) == lead and len(words) > skip + len(lead):
            return _without_lead(tokens[skip + len(lead) :])
    return tokens


def _place_last(tokens: list[str]) -> list[str]:
    """ "In the park, a dog runs" -> "a dog runs in the park"."""
    if tokens and tokens[0].lower() in w.PREPOSITIONS and tokens.count(",") == 1:
        comma = tokens.index(",")
        return tokens[comma + 1 :] + tokens[:comma]
    return tokens


# --- Tags -------------------------------------------------------------------------------------------------------------
def _tags(words: tuple[str, ...]) -> str:
    tags: list[str] = []
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
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
    """An adjective, or the noun that it is at the end of "a man in a glass"; "open" after a noun stays an adjective."""
    ends = not _is_open(following) and following not in ("and", ",", "or")
    return "N" if ends and before in ("D", "Q") else "A"


def _ing_tag(following: str, tags: str) -> str:
    """An adjective in "a smiling man", a noun in "a long meeting", else a verb: "a man in red riding"."""
    within = tags[len(tags.rstrip("A")) - 1 :] if tags.rstrip("A") else tags
    if tags[-1:] in ("D", "Q", "A") and _is_open(following):
        return "A"
    return "N" if within[:1] in ("D", "Q") else "V"


def _is_open(word: str) -> bool:
    """Whether a word may go on with a noun phrase."""
    return bool(word) and (word not in _CLOSED or _CLOSED[word] in "NQ")


def _is_past(word: str) -> bool:
    regular = word.endswith("ed") and len(word) > 3 and word not in w.ED_NOUNS
    return regular or word in w.IRREGULAR_PARTICIPLES


def _is_main_verb(word: str, following: str, words: tuple[str, ...], tags: list[str]) -> bool:
    """Whether `word`, after a noun, is the finite verb of its clause: "a man rides", "two men ride"."""
    clause = "".join(tags)
    clause = clause[max(clause.rfind("W"), clause.rfind(",")) + 1 :]
    plural = is_plural(words[len(tags) - 1])
    if word in w.VERBS and following in _OBJECT_STARTS:
        return True  # two noun phrases never stand side by side
    is_subject = not clause.strip("DQANSCF")
    if is_subject and ("C" in clause or plural or words[len(tags) - 1] == "couple"):
        return word in w.VERBS or plural and base_of(word) is not None
    if not word.endswith("s") or word.endswith("ss"):
        return False
    phrase = clause[len(clause.rstrip("NAS")) - 1 :]  # from the determiner
    if "V" in clause or "X" in clause:
        return base_of(word) is not None and phrase[:1] == "D" and _opens_object(following)
    if plural and base_of(word):
        return True
    if is_subject and "F" not in clause and clause[0] == "D" and following in _OBJECT_STARTS:
        return True  # also of verbs that words.py does not list
    if "F" in clause:
        return False
    short = is_subject and clause.count("N") == 1
    return base_of(word) is not None and (_opens_object(following) or short) and (is_subject or phrase[:1] == "D")


_OBJECT_STARTS = w.ARTICLES | w.POSSESSIVES


def _opens_object(word: str) -> bool:
    return _CLOSED.get(word, "N") in "DPRO" or word in w.NUMBERS or word.endswith("ing")


# --- From a sentence to a phrase --------------------------------------------------------------------------------------
def _as_phrase(sentence: Tagged) -> Tagged:
    """ "A man is riding a wave", "a man rides a wave" -> "a man riding a wave"; as it is where that cannot be told."""
    clause = sentence.tags.split("W")[0]
    if not clause or clause[0] not in "DQAN":
        return sentence
    if "X" in clause:
        return _without_copula(sentence, clause.index("X"))
    place = clause.find("V")
    if place < 1:
        return sentence
    word = sentence.words[place]
    finite = base_of(word) or (word if word in w.VERBS and clause[place - 1] == "N" else None)
    finite = finite or _guessed_base(word, clause[:place])
    if finite is None:
        return sentence
    tokens = list(sentence.tokens)
    tokens[place] = participle(finite)
    return _tagged(_coordinated(tokens, sentence, place))


def _guessed_base(word: str, before: str) -> str | None:
    """The base form of a verb that words.py does not list."""
    if before[0] != "D" or not word.endswith("s"):
        return None
    return word[:-2] if word.endswith(("ches", "shes", "xes", "sses")) else word[:-1]


def _coordinated(tokens: list[str], sentence: Tagged, start: int) -> list[str]:
    """ "a man sitting and eats" -> "a man sitting and eating"."""
    for place in range(start + 1, len(tokens)):
        if sentence.tags[place] == "W":
            break
        base = base_of(sentence.words[place])
        if base and sentence.words[place - 1] == "and" and tokens[place + 1 : place + 2] != ["of"]:
            tokens[place] = participle(base)
    return tokens


def _without_copula(sentence: Tagged, place: int) -> Tagged:
    word, tokens = sentence.words[place], list(sentence.tokens)
    after = place + 1
    while sentence.tags[after : after + 1] == "X":
        after += 1
    following = sentence.tags[after : after + 1]
    if word in ("has", "have", "having") and after == place + 1 and following and following in "DQAN":
        return _tagged([*tokens[:place], "with", *tokens[after:]])
    if word in ("is", "are", "was", "were", "has", "have") and following and following in "VPR":
        return _tagged(tokens[:place] + tokens[after:])
    return sentence
