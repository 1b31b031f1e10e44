"""Words of other languages, and what is said where their packages are missing."""

import pytest

from icsd.core import languages
from icsd.core.errors import ConfigError
from icsd.core.languages import folded_words, without_inner_spaces, words
from icsd.core.metrics import plain_tokens
from icsd.core.ngrams import near_pairs, words_of


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("zh", "一个穿红色衣服的小男孩在公园里踢足球。", "一个 穿 红色 衣服 的 小 男孩 在 公园 里 踢 足球"),
        ("zh", "一 个 男 孩 在 公 园 里", "一个 男孩 在 公园 里"),  # as a BERT's tokenizer writes it
        ("ja", "黒い犬が、砂浜を走っている。", "黒い 犬 が 砂浜 を 走 って いる"),
        ("ar", "كلبٌ أسود يركض، وكلبٌ ينام.", "كلبٌ أسود يركض وكلبٌ ينام"),
        ("de", "Ein Junge im T-Shirt spielt Fußball!", "Ein Junge im T Shirt spielt Fußball"),
        ("th", "เด็กผู้ชายเล่นฟุตบอล", "เด็ก ผู้ชาย เล่น ฟุตบอล"),
        ("zh", "。…", ""),
    ],
)
def test_words_are_those_that_people_of_the_language_count(language: str, text: str, found: str) -> None:
    assert words(text, language) == found.split()


def test_folded_words_differ_in_nothing_that_is_left_to_the_writer() -> None:
    assert folded_words("GROSSE Straße", "de") == folded_words("große STRASSE", "de") == ["grosse", "strasse"]
    assert folded_words("قميصًا جميـــل", "ar") == ["قميصا", "جميل"]
    assert folded_words("ＢＵＳ", "ja") == ["bus"]


def test_spaces_go_only_between_ideographs_and_kana() -> None:
    assert without_inner_spaces("赤い 服 を 着 た 人 、 a red bus 2 台") == "赤い服を着た人 、 a red bus 2 台"
    assert without_inner_spaces("a dog  runs") == "a dog  runs"


def test_tokens_of_scores_and_of_the_guard_are_words() -> None:
    assert plain_tokens("Zwei Hunde.", "de") == words_of("Zwei Hunde.", "de") == "zwei hunde"
    assert plain_tokens("两只黑色的狗在沙滩上奔跑。", "zh") == "两 只 黑色 的 狗 在 沙滩 上 奔跑"
    texts = ["一位老人坐在公园的长椅上看今天的报纸。", "一位老人坐在公园的长椅上看今天的报纸和书", "两只狗"]
    assert not len(near_pairs([words_of(text) for text in texts], 2, 0.8).first)  # without words, nothing is near
    pairs = near_pairs([words_of(text, "zh") for text in texts], 2, 0.8)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0], [1])


def test_a_missing_package_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    languages.check_installed.cache_clear()  # other tests found them
    monkeypatch.setattr(languages, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"captions.language=zh needs the package icu4py: type `make setup`, or pip"):
        words("一个", "zh")
    languages.check_installed("en")  # needs none
