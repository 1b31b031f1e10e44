"""Summaries of a Chinese, a Japanese, an Arabic and a German corpus, from the captions to what a server answered."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chat_behaviours
import pytest
from chat_server import ChatServer
from foreign_captions import CAPTIONS

from icsd.config import SummariesConfig
from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.languages import words
from icsd.corpora import Corpus
from icsd.stages.captions import read_captions
from icsd.stages.embeddings import embed_captions
from icsd.stages.groups import Selection, find_neighbors, form_groups
from icsd.stages.summaries import summarize_groups
from icsd.stages.summaries.answers import BadAnswer, Rules, parse_answer
from icsd.stages.summaries.quality import covered, unsupported_words

PROMPT = Path(__file__).parents[4] / "config/prompts/own-language.txt"
# of which no caption says anything
INVENTED = {
    "zh": "一架银色的飞机降落在机场，乘客排队等候行李。",
    "ja": "銀色の飛行機が空港に着陸し、乗客が荷物を待つ。",
    "ar": "طائرة فضية تهبط في المطار وينتظر المسافرون حقائبهم.",
    "de": "Ein silbernes Flugzeug landet, während Reisende auf ihre Koffer warten.",
}
INVENTED_WORD = {"zh": "飞机", "ja": "飛行機", "ar": "طائرة", "de": "flugzeug"}
JOINED = {"zh": "{}，{}。", "ja": "{}、{}。", "ar": "{} و{}.", "de": "{}, und {}."}
LANGUAGES = sorted(CAPTIONS)
FIRST, SECOND = 1, 2  # groups whose answers are wrong
TIMES = 12


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def server(language: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """A server that joins two captions, but invents a summary of the first group, and talks much of the second."""

    def content(_kind: Any, captions: dict[int, str], _random: Any) -> str:
        summary = JOINED[language].format(*(captions[number].rstrip("。.") for number in (1, 2)))
        if captions[1] == CAPTIONS[language][FIRST - 1]:
            summary = INVENTED[language]
        elif captions[1] == CAPTIONS[language][SECOND - 1]:
            summary = " ".join([captions[1]] * TIMES)
        return json.dumps({"index": [1, 2], "summary": summary}, ensure_ascii=False)

    monkeypatch.setattr(chat_behaviours, "_content", content)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    with ChatServer() as running:
        yield running


def _summaries(folder: Path, language: str, encoder: Path, url: str) -> list[dict[str, Any]]:
    """Take the corpus of a language through the stages."""
    (folder / "captions.txt").write_text("\n".join(CAPTIONS[language]), encoding="utf-8")
    paths = {name: folder / f"{name}.parquet" for name in ("captions", "embeddings", "neighbors", "groups", "times")}
    read_captions(Corpus((folder / "captions.txt",), split="train"), 1000, paths["captions"], 1, language)
    model = {"kind": "open_clip", "model": str(encoder), "precision": "float64"}
    embed_captions(paths["captions"], paths["embeddings"], model, 512)
    find_neighbors([paths["embeddings"]], [paths["embeddings"]], paths["neighbors"], 4)
    form_groups([paths["neighbors"]], paths["groups"], 1, paths["times"], Selection(dedupe="none"))
    summaries = folder / "run/summaries/out.parquet"
    config = SummariesConfig(
        provider="openai", store=str(folder / "replies"), openai={"base_url": url, "retries": 0, "concurrency": 2}
    )
    summarize_groups(
        paths["groups"], paths["captions"], PROMPT, summaries, config, folder / "run", language=language
    )  # fmt: skip
    return tables.read(summaries, tables.SUMMARIES).to_pylist()


def test_a_corpus_goes_through_to_summaries(
    tmp_path: Path, language: str, clip_folder: Path, server: ChatServer
) -> None:
    rows = _summaries(tmp_path, language, clip_folder, server.url)
    assert len(rows) == len(CAPTIONS[language])
    by_group = {row["group_id"]: row for row in rows}
    wrong = [by_group.pop(number)["reason"] for number in (FIRST, SECOND)]
    assert wrong[0].startswith("unsupported: ") and INVENTED_WORD[language] in wrong[0]
    count = TIMES * len(words(CAPTIONS[language][SECOND - 1], language))
    assert wrong[1] == f"too-long: {count} words, where at most 50 are allowed"
    for row in by_group.values():
        assert (row["status"], row["unsupported"]) == ("ok", [])
        assert row["covered"] == row["selected"]


@pytest.mark.parametrize(
    ("language", "summary", "captions", "unsupported"),
    [
        # cut apart otherwise, inflected, with an article or a conjunction at the word: the same words
        ("zh", "一个小男孩和两只黑狗在草地上", ["小男孩踢球", "黑色的狗，两个", "草地"], []),
        ("zh", "老人坐在公园里看书", ["公园的长椅上坐着一位老人", "他看一本书"], []),
        ("zh", "三只白色的猫坐着", ["两只黑色的狗坐在那里"], ["三", "白色", "猫"]),
        ("zh", "一匹马", ["一条马路"], ["马"]),
        ("ja", "黒い犬が走り、老人が座る", ["黒い犬が走っている", "老人が座っている"], []),
        ("ja", "白い猫が眠る", ["黒い犬が走っている"], ["白い", "猫", "眠る"]),
        ("ar", "والكلب الأسود يركض في حديقة", ["كلب أسود يركض في الحديقة"], []),
        ("ar", "ولد وولدان ورجل", ["ولد ورجل"], []),
        ("ar", "صبيٌّ يلعب بالكرة", ["الصبي يلعب كرة القدم"], []),
        ("ar", "قطة بيضاء تنام في الحديقة", ["كلب أسود يركض في الحديقة"], ["قطة", "بيضاء", "تنام"]),
        ("de", "Der rote Ball liegt auf Straßen", ["einen roten Ball", "er liegt", "STRASSE"], []),
        ("de", "Die Hunde rennen", ["ein Hund rennt"], []),
        ("de", "ein Schuh und ein T-Shirt", ["ein Handschuh", "ein TShirt"], ["schuh"]),
        ("fr", "Le chien rouge et la fille", ["un chien rouge", "une fille"], ["le", "et", "la"]),  # no list
    ],
)
def test_support_is_counted_by_the_words_of_the_language(
    language: str, summary: str, captions: list[str], unsupported: list[str]
) -> None:
    assert unsupported_words(summary, captions, language) == unsupported


def test_a_caption_is_covered_whose_words_are_all_there() -> None:
    captions = ["公园里有两只狗", "公园里有两只猫"]
    assert covered("两只狗在公园里奔跑", captions, "zh") == [0]
    assert covered("Zwei Hunde im Park", ["ein Hund im Park", "zwei Katzen"], "de") == [0]


@pytest.mark.parametrize(
    ("language", "sentence", "count"),
    [("zh", "两只黑色的狗在沙滩上奔跑。", 9), ("ja", "黒い犬が砂浜を走っている。", 8), ("de", "Ein T-Shirt.", 3)],
)
def test_length_is_counted_in_words(language: str, sentence: str, count: int) -> None:
    assert len(words(sentence, language)) == count
    answer = json.dumps({"index": [1], "summary": sentence})
    assert parse_answer(answer, 3, Rules(max_words=count), language=language).summary == sentence
    with pytest.raises(BadAnswer, match=f"too-long: {count} words, where at most {count - 1} are allowed"):
        parse_answer(answer, 3, Rules(max_words=count - 1), language=language)


def test_joiners_of_persian_are_no_control_characters() -> None:
    answer = json.dumps({"index": [1], "summary": "سگ می\u200cدود"})
    assert parse_answer(answer, 3, Rules(), language="fa").summary == "سگ می\u200cدود"
    with pytest.raises(BadAnswer, match=r"control-characters: U\+200C"):
        parse_answer(answer, 3, Rules())


def test_captions_in_another_script_are_refused_as_english(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text("a dog\n" + "\n".join(CAPTIONS["ja"]), encoding="utf-8")
    with pytest.raises(InputError, match=r"letters of its first captions are not Latin.*set captions.language"):
        read_captions(Corpus((path,), split="train"), 1000, tmp_path / "out.parquet", 1)
