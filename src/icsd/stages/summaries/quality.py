"""Quality of summaries: words without support, covered captions, length; and the filter that drops poor ones."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from string import ascii_lowercase
from types import MappingProxyType

from icsd.config import QualityConfig
from icsd.core.languages import ENGLISH
from icsd.core.text import shown
from icsd.merger import words as w
from icsd.merger.inflection import canonical, implied, stem
from icsd.stages.summaries import content as foreign

# All of a caption's content words must be in the summary: two captions of one group often differ in a single
# word ("a red ball", "a blue ball"). Of real captions those that the merger selects pass in 98 of 100 cases, and those
# that it leaves in 4; at 0.75 it would be 99 and 20.
COVERED_SHARE = 1.0


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality of a summary: `words` counts its content words; the `unsupported` ones are in no selected caption.

    `covered` has the indices (0-based) of the covered ones among the selected captions. `image_tokens` counts the text
    encoder's tokens with start and end mark; None if they were not counted.
    """

    words: int
    unsupported: tuple[str, ...]
    covered: tuple[int, ...]
    image_tokens: int | None


def measure(summary: str, selected_captions: Sequence[str], tokens: int | None, language: str = ENGLISH) -> Quality:
    """The quality of a summary; `tokens` as `icsd.models.prompt_tokenizer` counts them."""
    unsupported = tuple(unsupported_words(summary, selected_captions, language))
    words = len(content(summary, language))
    return Quality(words, unsupported, tuple(covered(summary, selected_captions, language)), tokens)


def unsupported_words(summary: str, captions: Sequence[str], language: str = ENGLISH) -> list[str]:
    """The summary's content words, in lower case, in order and once each, that are in none of the captions."""
    said = frozenset().union(*(senses(caption, language) for caption in captions))
    return [word for word, keys in content(summary, language).items() if not _is_said(word, keys, said, language)]


def covered(summary: str, captions: Sequence[str], language: str = ENGLISH) -> list[int]:
    """Indices (0-based) of the captions of whose content words at least COVERED_SHARE are in the summary.

    A caption without content words is not covered.
    """
    said = senses(summary, language)
    return [index for index, caption in enumerate(captions) if _covers(said, content(caption, language), language)]


def content(text: str, language: str) -> Mapping[str, frozenset[str]]:
    """The content words of a text, in order -> the keys of each: two words are the same if they share a key."""
    return _content(text) if language == ENGLISH else foreign.content(text, language)


def senses(text: str, language: str) -> frozenset[str]:
    """The keys of all words of a text; of English also those of the broader words that they imply."""
    return _senses(text) if language == ENGLISH else foreign.senses(text, language)


def _covers(said: frozenset[str], words: Mapping[str, frozenset[str]], language: str) -> bool:
    found = sum(_is_said(word, keys, said, language) for word, keys in words.items())
    return found >= COVERED_SHARE * len(words) > 0


def _is_said(word: str, keys: frozenset[str], said: frozenset[str], language: str) -> bool:
    return not said.isdisjoint(keys) or (language == "zh" and foreign.is_composed(word, said))


# --- Content words of English -----------------------------------------------------------------------------------------
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")  # hyphens separate words: "t-shirt" is "t shirt", see _with_joined
_ONES = frozenset(word for word, number in w.NUMBERS.items() if number == 1)
# beyond the lists of `words`: function words of longer prose ("can't" and "won't" become "ca" and "wo"), and
# words about the picture itself, not its content
_GLUE = frozenset(
    "whilst amidst adjacent whereas than then such any much more most including includes include despite throughout "
    "cannot ca wo background foreground backdrop setting closeup pictured depict depicts depicting depicted feature "
    "features featuring featured show shows showing showed showcasing capture captures capturing captured "
    "accompanied appear appears appearing seem seems seemingly located situated positioned placed".split()
)
_FUNCTION_WORDS = (
    w.DETERMINERS | w.PREPOSITIONS | w.ADVERBS | w.PRONOUNS | w.CLAUSE_WORDS | w.CONJUNCTIONS | w.AUXILIARIES
    | w.MANY_WORDS | w.EMPTY_WORDS | _ONES | _GLUE | frozenset(ascii_lowercase)
)  # fmt: skip
# "next to", "covered with", "a group of": made of words that have content elsewhere
_PHRASES = (
    {phrase.replace("_", " ") for phrase in w.COMPOUNDS}
    | {f"{word} of" for word in w.COLLECTIVES}
    | {"close up", "on top", "in front"}
)
_FUNCTION_PHRASE = re.compile(rf"\b(?:{'|'.join(sorted(_PHRASES, reverse=True))})\b")  # the longer of two first
_GAP = "|"


@lru_cache(maxsize=2**15)  # a caption is in about k groups of a shard
def _content(text: str) -> Mapping[str, frozenset[str]]:
    """The content words of a text, in order -> the keys of each."""
    words = _FUNCTION_PHRASE.sub(_GAP, " ".join(_words(text))).split()
    found: dict[str, frozenset[str]] = {}
    for index, word in enumerate(words):
        if word != _GAP and word not in _FUNCTION_WORDS:
            found[word] = found.get(word, frozenset()) | _with_joined(words, index)
    return MappingProxyType(found)


@lru_cache(maxsize=2**15)
def _senses(text: str) -> frozenset[str]:
    """The keys of all words of a text, and of the broader words that they imply."""
    words = _words(text)
    said = frozenset().union(*(_with_joined(words, index) for index in range(len(words))))
    return said.union(*(implied(key) for key in said))


def _words(text: str) -> list[str]:
    words = _WORD.findall(text.lower().replace("’", "'"))
    return [word.removesuffix("n't").partition("'")[0] for word in words]


def _with_joined(words: Sequence[str], index: int) -> frozenset[str]:
    """The keys of a word, and of the compounds with its neighbours: "skate board" is "skateboard"."""
    pairs = ("".join(words[start : start + 2]) for start in (index - 1, index) if 0 <= start < len(words) - 1)
    return _keys(words[index]).union(*map(_keys, pairs))


# --- Forms of a word --------------------------------------------------------------------------------------------------
_VERBS = (
    "be is are was were been am", "bend bent", "bite bit bitten", "blow blew blown", "break broke broken",
    "bring brought", "build built", "buy bought", "catch caught", "choose chose chosen", "come came", "dig dug",
    "do did does done", "draw drew drawn", "drink drank drunk", "drive drove driven", "eat ate eaten",
    "fall fell fallen", "feed fed", "fight fought", "find found", "fly flew flown", "freeze froze frozen",
    "get got gotten", "give gave given", "go went gone", "grind ground", "grow grew grown", "hang hung", "have has had",
    "hide hid hidden", "hold held", "keep kept", "kneel knelt", "know knew known", "lay laid", "lead led", "lean leant",
    "leap leapt", "leave left", "lie lay lain lying", "light lit", "lose lost", "make made", "meet met",
    "ride rode ridden", "rise rose risen", "run ran", "see saw seen", "sell sold", "shake shook shaken", "shine shone",
    "shoot shot", "sing sang sung", "sink sank sunk", "sit sat", "sleep slept", "slide slid", "speak spoke spoken",
    "spin spun", "stand stood", "steal stole stolen", "stick stuck", "strike struck", "sweep swept", "swim swam swum",
    "swing swung", "take took taken", "teach taught", "tear tore torn", "tell told", "think thought",
    "throw threw thrown", "tie tied tying", "wear wore worn", "win won", "wind wound", "write wrote written",
)  # fmt: skip
_BASES = {form: line.split()[0] for line in _VERBS for form in line.split()}


@lru_cache(maxsize=2**16)
def _keys(word: str) -> frozenset[str]:
    """The keys of a word: two words count as the same if they share a key."""
    noun = canonical(word)
    keys = {noun, _root(word), _root(_BASES.get(word, word))}
    if word in w.ADJECTIVES:
        keys.add(w.ADJECTIVES[word][1])
    if word in w.NUMBERS:
        keys.add(str(w.NUMBERS[word]))
    if noun in w.PEOPLE_WORDS and noun.endswith("er"):  # "a surfer" is "a man surfing"
        keys |= {stem(noun[:-2] + "ing")} & _VERB_STEMS
    return frozenset(keys)


_VERB_STEMS = frozenset(map(stem, w.VERBS))


def _root(word: str) -> str:
    """Stem a word with `stem`, except that "carry" and "carried" do not become "car"."""
    if word.endswith(("ied", "ies")) and len(word) > 4:
        return word[:-3] + "y"
    return word if word.endswith("y") else stem(word)


@dataclass(frozen=True, slots=True)
class Group:
    """A group's captions: the anchor first, then by falling similarity."""

    group_id: int
    caption_ids: tuple[int, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """A provider's summary of a group, or the `reason` why there is none ("code: detail").

    `selected` has the indices of the selected captions in the group, 0-based and ascending. Token counts are None if
    nothing counts them. `repairable`: the model answered, and a request that names the problem may help. `quality` is
    that of a text that was read, even if the text was dropped for it. `lenient`: the answer stood in a longer reply.
    """

    text: str | None = None
    selected: tuple[int, ...] = ()
    reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    repairable: bool = False
    quality: Quality | None = None
    lenient: bool = False

    def after(self, first: "Summary") -> "Summary":
        """Add the tokens of the first request to this summary."""
        return replace(
            self,
            prompt_tokens=_sum(self.prompt_tokens, first.prompt_tokens),
            completion_tokens=_sum(self.completion_tokens, first.completion_tokens),
        )


def dropped(
    code: str, detail: str = "", tokens: tuple[int | None, int | None] = (None, None), *, repairable: bool = False
) -> Summary:
    """A group without a summary. Codes are few and stable, to be counted; the detail is for people."""
    return Summary(None, (), f"{code}: {detail}" if detail else code, *tokens, repairable)


def _sum(left: int | None, right: int | None) -> int | None:
    return None if left is None and right is None else (left or 0) + (right or 0)


SHOWN_WORDS = 8


@dataclass(frozen=True)
class QualityFilter:
    """Drops summaries by the limits of summaries.quality. ModelError if image_model has no tokenizer."""

    limits: QualityConfig
    language: str = ENGLISH

    def __post_init__(self) -> None:
        self._tokens("")

    def __call__(self, group: Group, summary: Summary) -> Summary:
        """The summary with its quality, or a dropped one, which a model may repair."""
        if summary.text is None:
            return summary
        selected = [group.captions[index] for index in summary.selected]
        quality = measure(summary.text, selected, self._tokens(summary.text), self.language)
        reason = self._failed_limit(quality)
        if reason is None:
            return replace(summary, quality=quality)
        return replace(summary, text=None, selected=(), reason=reason, repairable=True, quality=quality)

    def _tokens(self, text: str) -> int | None:
        if self.limits.image_model is None:
            return None
        from icsd.models.prompt_tokenizer import count_tokens  # late: not needed if nobody counts tokens

        return count_tokens(self.limits.image_model, [text])[0]

    def _failed_limit(self, quality: Quality) -> str | None:
        # a repair request quotes the reason: other words here would buy every repair again
        limits, unsupported, covered = self.limits, quality.unsupported, quality.covered
        if len(unsupported) > limits.max_unsupported_share * quality.words:
            as_shown = shown if self.language == ENGLISH else str  # letters and digits of a language, as they are
            words = ", ".join(map(as_shown, unsupported[:SHOWN_WORDS]))
            return f"unsupported: {len(unsupported)} of {quality.words} words stand in no selected caption: {words}"
        if len(covered) < limits.min_covered:
            return f"covers-too-few: all words of {len(covered)} selected captions, not of {limits.min_covered}"
        if limits.must_fit and limits.image_model is not None and quality.image_tokens is not None:
            from icsd.models.prompt_tokenizer import token_limit

            if quality.image_tokens > (limit := token_limit(limits.image_model)):
                return f"does-not-fit: {quality.image_tokens} tokens, and the image model reads {limit}"
        return None
