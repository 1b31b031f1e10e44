"""Signs that a text is no description of a scene: titles, news, advice, first person, credits.

The tables hold words and patterns. Which of them a text has, `description_problem` tells.
"""

import re

from icsd.merger.words import word_set as _set

# --- Words that no description of a scene needs -----------------------------------------------------------------------
FIRST_OR_SECOND_PERSON = _set(
    "i i'm i've i'd i'll me my mine myself we we're we've us our ours ourselves you you're you'll your yours yourself "
    "let's lol"
)
NEWS = _set(
    "said says announced unveiled arrested killed injured charged convicted investigating investigated elected scored "
    "launched confirmed revealed claimed reported ruled died dies officials spokesman championship election parliament "
    "protest incident accident season episode championship quarter-final press conference minister president reunited "
    "monday tuesday wednesday thursday friday saturday sunday yesterday today tomorrow tonight "
    "january february april june july august september october november december"
)
ADVICE = _set(
    "should must could would will shall might can't won't don't doesn't didn't isn't aren't wasn't couldn't "
    "shouldn't never always please try tip tips trick tricks how why what avoid remember forget if whether because "
    "until unless perfect best worst"
)
TITLES_AND_CREDITS = _set(
    "guide tutorial recipe recipes ideas idea reasons history chapter volume edition trailer blog review quiz diy faq "
    "poster wallpaper download click copyright courtesy credit credits royalty royalty-free stock getty illustration "
    "vector screenshot watermark cartoon clipart ad advertisement announcement "
    "caption title website www http https com"
)
NO_SCENE = {
    **dict.fromkeys(NEWS, "news"),
    **dict.fromkeys(ADVICE, "advice"),
    **dict.fromkeys(TITLES_AND_CREDITS, "title or credit"),
    **dict.fromkeys(FIRST_OR_SECOND_PERSON, "first or second person"),
}
# A phrase whose first noun is one of these names no thing that can be drawn.
ABSTRACT = _set(
    "idea way reason time day night life distance art kind type sort lot part version style look thing something list "
    "talk talks fact story moment result question answer example effort attempt choice chance plan sale trip season "
    "game match event party festival tour race show concert competition tournament visit view scene shot close-up "
    "background foreground top bottom side front back middle end number variety evening morning afternoon weather "
    "member point use world country content place area space setting"
)

# --- Characters and patterns ------------------------------------------------------------------------------------------
_PATTERNS = (
    (re.compile(r'[<>{}\[\]()@#$%*=+~^|\\/&_"“”;:…]|\.\.|\?|!'), "marks that the merger would lose"),
    (re.compile(r"[.]\s+\S"), "more than one sentence"),
    (re.compile(r"\b(?:1[89]|20)\d\d\b"), "a year"),
    (re.compile(r"^\W*\d"), "a list"),
)
_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
_TITLE_WORDS = 3  # words with a capital, after the first, that make a title
_SMALL_WORDS = _set("a an the of in on at to with and or for by from")


def description_problem(caption: str) -> str | None:
    """Tell why a text is no description of a scene. None if no sign says so."""
    for pattern, problem in _PATTERNS:
        if pattern.search(caption.strip()):
            return problem
    words = [word.replace("’", "'") for word in _WORD.findall(caption)]
    for word in words:
        if (sign := NO_SCENE.get(word.lower())) is not None:
            return sign
    return "a title" if _is_title(words) else None


def _is_title(words: list[str]) -> bool:
    """Tell whether most words after the first begin with a capital: "The Art of the Sandwich"."""
    if all(word.isupper() for word in words):
        return False
    rest = [word for word in words[1:] if word.lower() not in _SMALL_WORDS]
    capitals = sum(word[0].isupper() for word in rest)
    return bool(rest) and capitals >= min(_TITLE_WORDS, len(rest)) and capitals > len(rest) * 2 / 3
