"""Words of languages other than English: by ICU's word boundaries, in the form in which they are compared.

English has rules of its own where its words are counted, and needs none of these packages.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.util import find_spec

from icsd.core.errors import ConfigError

ENGLISH = "en"
# ISO 639-1
CODES = frozenset(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en "
    "eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv "
    "ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne "
    "ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st "
    "su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu".split()
)
PACKAGES = ("icu4py", "snowballstemmer")
INSTALL = "type `make setup`, or pip install '.[languages]' in the checkout"

_IDEOGRAPHS = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SPACE_BETWEEN_IDEOGRAPHS = re.compile(f"(?<=[{_IDEOGRAPHS}])[ \u3000]+(?=[{_IDEOGRAPHS}])")
# vowel signs and the lengthening stroke of Arabic, which most texts leave out
_OPTIONAL_SIGNS = re.compile("[\u0640\u064b-\u065f\u0670]")


@cache  # each text asks
def check_installed(language: str) -> None:
    """ConfigError where the packages that find the words of a language are not installed."""
    if language == ENGLISH:
        return
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise ConfigError(f"captions.language={language} needs the package {missing[0]}: {INSTALL}")


def words(text: str, language: str) -> list[str]:
    """The words of a text as they are written, by ICU's word boundaries: Unicode's, and dictionaries of CJK and Thai.

    A word has a letter or a digit. ConfigError without the packages.
    """
    check_installed(language)
    from icu4py.breakers import WordBreaker  # late: English needs no ICU

    segments: Iterator[str] = iter(WordBreaker(without_inner_spaces(text), language))
    return [segment for segment in segments if any(map(str.isalnum, segment))]


def without_inner_spaces(text: str) -> str:
    """The text without spaces between two ideographs or kana, where a BERT's tokenizer writes them."""
    return _SPACE_BETWEEN_IDEOGRAPHS.sub("", text)


@lru_cache(maxsize=2**16)
def folded(word: str) -> str:
    """A word without what does not tell words apart: case, width, vowel signs and strokes of Arabic."""
    return _OPTIONAL_SIGNS.sub("", unicodedata.normalize("NFKC", word).casefold())


def folded_words(text: str, language: str) -> list[str]:
    """The words of a text, folded."""
    return [folded(word) for word in words(text, language)]
