"""Texts that share most of their word n-grams: every pair, found without comparing all with all.

Two sets with a Jaccard index of t or more share one of their rarest elements: of a set of s, the first
s - ceil(t s) + 1 by frequency are enough. Bayardo, Ma and Srikant, "Scaling up all pairs similarity search" (WWW
2007), with the bound by position of Xiao et al., "Efficient similarity joins for near-duplicate detection" (WWW 2008).
docs/decisions/0028-guard.md has its speed beside MinHash.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from icsd.core.languages import ENGLISH, folded_words

PAIRS = 1 << 20  # candidates at once: memory does not grow with their number
TINY = 1e-9  # more than the rounding of t s, less than a share of a set


class _Blanks(dict[int, str | int]):
    """For `str.translate`: punctuation, symbols and control characters become blanks."""

    def __missing__(self, code: int) -> str | int:
        self[code] = " " if unicodedata.category(chr(code))[0] in "PSCZ" else code
        return self[code]


_BLANKS = _Blanks()


def words_of(text: str, language: str = ENGLISH) -> str:
    """The words of a text in lower case with single blanks between them; a text without a word stays as it is."""
    if language != ENGLISH:
        return " ".join(folded_words(text, language)) or text.strip()
    return " ".join(unicodedata.normalize("NFKC", text).casefold().translate(_BLANKS).split()) or text.strip()


@dataclass(frozen=True)
class NearPairs:
    """Pairs of texts, `first` [p] < `second` [p], with the Jaccard index of each [p]; in the order of the texts."""

    first: np.ndarray
    second: np.ndarray
    jaccard: np.ndarray


def near_pairs(texts: Sequence[str], n: int, min_jaccard: float) -> NearPairs:
    """Find all pairs of texts whose sets of word n-grams have a Jaccard index of `min_jaccard` or more.

    Words stand between single blanks, as `words_of` returns them. A text of fewer than n words is one n-gram.
    """
    sets = _sets(texts, n)
    near = [_near(sets, *pairs, min_jaccard) for pairs in _candidates(sets, min_jaccard)]
    first, second, jaccard = (np.concatenate(parts) for parts in zip(_NONE, *near, strict=True))
    # a pair that shares several of its rarest n-grams is there several times
    _, once = np.unique(first * (len(texts) + 1) + second, return_index=True)
    return NearPairs(first[once], second[once], jaccard[once])


_NONE = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)


@dataclass(frozen=True)
class _Sets:
    """Sets of numbered n-grams: set i is `grams[starts[i] : starts[i] + sizes[i]]`, rarest first; `of` names the set.

    The rarer an n-gram, the lower its number.
    """

    grams: np.ndarray
    of: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray


def _sets(texts: Sequence[str], n: int) -> _Sets:
    numbers = defaultdict[str, int](count().__next__)
    words = np.fromiter((numbers[word] for text in texts for word in text.split(" ")), np.int64)
    lengths = np.fromiter((text.count(" ") + 1 for text in texts), np.int64, len(texts))
    counts = np.maximum(lengths - n + 1, 1)
    of = np.repeat(np.arange(len(texts)), counts)
    ends = np.cumsum(lengths)
    at = np.repeat(ends - lengths, counts) + _ranges(counts)
    grams = np.zeros(len(at), np.int64)
    for place in range(n):  # an n-gram is the number of its first words and one word more
        inside = at + place < ends[of]
        word = np.where(inside, words[np.minimum(at + place, len(words) - 1)] + 1, 0) if len(words) else at
        _, grams = np.unique(grams * (len(numbers) + 1) + word, return_inverse=True)
    return _by_rarity(of, grams, len(texts))


def _by_rarity(of: np.ndarray, grams: np.ndarray, texts: int) -> _Sets:
    """Count each n-gram once in a text, and number n-grams by rising frequency."""
    kinds = int(grams.max(initial=0)) + 1
    of, grams = np.divmod(np.unique(of * kinds + grams), kinds)
    frequency = np.bincount(grams, minlength=kinds)
    rank = np.empty(kinds, np.int64)
    rank[np.argsort(frequency, kind="stable")] = np.arange(kinds)
    grams = rank[grams]
    order = np.lexsort((grams, of))
    sizes = np.bincount(of, minlength=texts)
    return _Sets(grams[order], of, np.cumsum(sizes) - sizes, sizes)


def _candidates(sets: _Sets, min_jaccard: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield blocks of pairs of sets that share one of their rarest n-grams and may reach the Jaccard index."""
    place = np.arange(len(sets.grams)) - sets.starts[sets.of]
    prefix = sets.sizes - np.ceil(min_jaccard * sets.sizes - TINY).astype(np.int64) + 1
    rare = np.flatnonzero(place < prefix[sets.of])
    rare = rare[np.argsort(sets.grams[rare], kind="stable")]
    grams, of, after = sets.grams[rare], sets.of[rare], sets.sizes[sets.of[rare]] - place[rare]
    partners = np.searchsorted(grams, grams, side="right") - np.arange(len(grams)) - 1
    blocks = np.cumsum(partners) // PAIRS
    for block in np.unique(blocks[partners > 0]):
        own = np.flatnonzero((blocks == block) & (partners > 0))
        first = np.repeat(own, partners[own])
        second = first + 1 + _ranges(partners[own])
        # of the first n-gram that two sets share on, they share at most what is left of the shorter rest
        most = np.minimum(after[first], after[second])
        sizes = sets.sizes[of[first]] + sets.sizes[of[second]]
        possible = most >= min_jaccard / (1 + min_jaccard) * sizes - TINY
        yield of[first[possible]], of[second[possible]]


def _near(
    sets: _Sets, first: np.ndarray, second: np.ndarray, min_jaccard: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs that reach the Jaccard index, with their index."""
    if not len(first):
        return _NONE
    kinds = int(sets.grams.max()) + 1
    keys = sets.of * kinds + sets.grams  # ascending
    sizes = sets.sizes[first]
    wanted = np.repeat(second, sizes) * kinds + sets.grams[np.repeat(sets.starts[first], sizes) + _ranges(sizes)]
    found = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
    shared = np.add.reduceat(found, np.cumsum(sizes) - sizes, dtype=np.int64)
    jaccard = shared / (sizes + sets.sizes[second] - shared)
    near = jaccard >= min_jaccard
    return first[near], second[near], jaccard[near]


def _ranges(counts: np.ndarray) -> np.ndarray:
    """Return 0 to count - 1 for each of `counts`, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
