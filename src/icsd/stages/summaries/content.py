"""Content words of languages other than English, and the keys by which two of their words are the same.

Words are ICU's. A key is the folded word, its stem, a number, or the word together with its neighbour. Function words
of Chinese, Japanese, Arabic and German are no content; of other languages every word is content.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from icsd.core.languages import folded_words
from icsd.stages.summaries.function_words import FUNCTION_WORDS

_HIRAGANA = "".join(map(chr, range(0x3041, 0x30A0)))
# of Snowball, by ISO 639-1; its stemmer of Arabic treats a word with and without article alike only in part
SNOWBALL = {
    "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "eo": "esperanto", "es": "spanish",
    "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "nb": "norwegian",
    "ne": "nepali", "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip


@lru_cache(maxsize=2**15)  # a caption is in about k groups of a shard
def content(text: str, language: str) -> Mapping[str, frozenset[str]]:
    """The content words of a text, folded, in order -> the keys of each."""
    words = folded_words(text, language)
    found: dict[str, frozenset[str]] = {}
    for index, word in enumerate(words):
        if not _is_function_word(word, language):
            found[word] = found.get(word, frozenset()) | _with_joined(words, index, language)
    return MappingProxyType(found)


@lru_cache(maxsize=2**15)
def senses(text: str, language: str) -> frozenset[str]:
    """The keys of all words of a text."""
    words = folded_words(text, language)
    return frozenset().union(*(_with_joined(words, index, language) for index in range(len(words))))


def is_composed(word: str, said: frozenset[str]) -> bool:
    """True if all characters of a Chinese word are said, each as a word: 黑狗 by "黑色的狗", 一本书 by 书."""
    return all(character in said or _is_function_word(character, "zh") for character in word)


def _is_function_word(word: str, language: str) -> bool:
    """True for a listed word; in Japanese also for one or two hiragana, which are mostly endings."""
    if language == "ar" and word.startswith(_AND) and len(word) > 2:
        return _is_function_word(word[1:], language)
    ending = language == "ja" and len(word) <= 2 and not word.strip(_HIRAGANA)
    return ending or word in FUNCTION_WORDS.get(language, ())


def _with_joined(words: Sequence[str], index: int, language: str) -> frozenset[str]:
    """The keys of a word, and of it with each neighbour: boundaries inside a compound differ from text to text."""
    pairs = ("".join(words[start : start + 2]) for start in (index - 1, index) if 0 <= start < len(words) - 1)
    return _keys(words[index], language).union(*(_keys(pair, language) for pair in pairs))


@lru_cache(maxsize=2**16)
def _keys(word: str, language: str) -> frozenset[str]:
    keys = {word, _number(word, language), stem(word, language)}
    if language == "ar" and word.startswith(_AND) and len(word) > 3:  # a conjunction, or the word's own first letter
        keys.add(stem(word[1:], language))
    return frozenset(keys)


def _number(word: str, language: str) -> str:
    """The number, in digits, of a numeral of one character with or without a measure, as 两 and 三只; else the word."""
    number = unicodedata.numeric(word[:1], None)
    has_measure = len(word) == 1 or word[1:] in FUNCTION_WORDS.get(language, ())
    return f"{number:g}" if number is not None and has_measure else word


def stem(word: str, language: str) -> str:
    """A folded word without its inflection."""
    if language in SNOWBALL:
        found: str = _snowball(language).stemWord(word)
        # Snowball leaves the t of German verbs: rennt, rennen
        return found.removesuffix("t") if language == "de" and len(found) > 4 else found
    return {"ar": _arabic, "ja": _japanese, "zh": _chinese}.get(language, str)(word)


@lru_cache
def _snowball(language: str) -> Any:
    import snowballstemmer  # late: English needs no stemmer of it

    return snowballstemmer.stemmer(SNOWBALL[language])


_AND = "و"  # written with the word that follows
_SPELLINGS = str.maketrans("أإآىة", "ااايه")
_ARTICLES = ("بال", "كال", "فال", "لل", "ال")
_ENDINGS = ("ها", "ان", "ات", "ون", "ين", "يه", "ه", "ي")


def _arabic(word: str) -> str:
    """Strip article and endings, as light10 does (Larkey, Ballesteros and Connell, 2007).

    Two letters stay. The spellings of alif, final ya and ta marbuta count as one each, which writers mix.
    """
    word = word.translate(_SPELLINGS)
    article = next((each for each in _ARTICLES if word.startswith(each) and len(word) >= len(each) + 2), "")
    word = word.removeprefix(article)
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) >= len(ending) + 2:
            word = word.removesuffix(ending)
    return word


def _japanese(word: str) -> str:
    """Strip the hiragana after a kanji or katakana, with which verbs and adjectives are inflected: 走る, 走っ, 走り."""
    return word.rstrip(_HIRAGANA) or word


def _chinese(word: str) -> str:
    """Strip "colour" from 红色, what follows a verb in 坐在 and 坐着, and number and measure from 一本书."""
    if len(word) > 2 and unicodedata.numeric(word[0], None) is not None and _is_function_word(word[1], "zh"):
        return word[2:]
    return word[:-1] if word.endswith(("色", "在", "着", "著", "了")) and len(word) > 1 else word
