import random

import pytest

from icsd.core import ngrams
from icsd.core.ngrams import near_pairs, words_of


def _set(text: str, n: int) -> set[tuple[str, ...]]:
    words = text.split(" ")
    return {tuple(words[start : start + n]) for start in range(max(1, len(words) - n + 1))}


def _all_with_all(texts: list[str], n: int, limit: float) -> list[tuple[int, int, float]]:
    sets, found = [_set(text, n) for text in texts], []
    for first in range(len(texts)):
        for second in range(first + 1, len(texts)):
            shared = len(sets[first] & sets[second])
            jaccard = shared / (len(sets[first]) + len(sets[second]) - shared)
            if jaccard >= limit:
                found.append((first, second, jaccard))
    return found


def _found(texts: list[str], n: int, limit: float) -> list[tuple[int, int, float]]:
    pairs = near_pairs(texts, n, limit)
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.jaccard.tolist(), strict=True))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("limit", [0.5, 0.75, 0.8, 1.0])
def test_all_near_pairs_are_found_and_no_other(n: int, limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of 1 to 9 of four words: words repeat, many sets are equal, and some texts are shorter than n."""
    monkeypatch.setattr(ngrams, "PAIRS", 50)  # many blocks
    chance = random.Random(n)
    texts = [" ".join(chance.choices("abcd", k=chance.randint(1, 9))) for _ in range(150)]
    found = _found(texts, n, limit)
    assert found == _all_with_all(texts, n, limit)
    assert len(found) > 40


def test_no_text_has_no_pair() -> None:
    assert _found([], 2, 0.8) == _found(["a b c"], 2, 0.8) == []


def test_a_limit_that_is_just_reached_counts() -> None:
    assert _found(["a b c d e", "a b c d e f"], 2, 0.8) == [(0, 1, 0.8)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man's dog, running!", "a man s dog running"),
        ("  ÉCOLE\tstraße ", "école strasse"),
        ("full-width ＡＢＣ", "full width abc"),
        ("पानी की बोतल", "पानी की बोतल"),  # vowel signs are no punctuation
        ("...", "..."),
        ("?!", "?!"),
    ],
)
def test_words_have_no_case_and_no_punctuation(text: str, words: str) -> None:
    assert words_of(text) == words
