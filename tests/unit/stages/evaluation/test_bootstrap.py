"""The metrics, their intervals, and the Java programs behind them."""

import os
import threading

import numpy as np
import pytest

from icsd.core import metrics
from icsd.stages.evaluation import java
from icsd.stages.evaluation.bootstrap import Tokenised, score, score_sets, tokenise

REFERENCES = [
    ["a red ball on the grass", "a big red ball lies there"],
    ["two fish in the sea", "a blue fish swims"],
    ["a house under a tree", "the house is small"],
]
CANDIDATES = ["a red ball on the grass", "a blue fish in the sea", "a star"]


def by_name(captions: Tokenised, names: list[str], seed: int = 0) -> dict[str, tuple[float, float, float]]:
    return {one.metric: (one.value, one.low, one.high) for one in score(captions, names, 200, seed)}


def test_bleu_by_hand():
    # unigrams right: 6 + 6 + 1 ("a" of "a star") of 14; closest references have 6, 5 and 4 words, 15 in all
    sums = metrics.bleu_statistics(REFERENCES, CANDIDATES).sum(axis=0)
    assert sums[:3].tolist() == [14, 15, 13]
    assert metrics.bleu(sums)[0] == pytest.approx(13 / 14 * np.exp(1 - 15 / 14), rel=1e-6)


def test_bleu_is_that_of_pycocoevalcap():
    from pycocoevalcap.bleu.bleu import Bleu

    theirs, _ = Bleu(4).compute_score(
        dict(enumerate(REFERENCES)), {n: [c] for n, c in enumerate(CANDIDATES)}, verbose=0
    )
    assert metrics.bleu(metrics.bleu_statistics(REFERENCES, CANDIDATES).sum(axis=0)) == pytest.approx(theirs, rel=1e-6)


def test_rouge_l_by_hand():
    assert metrics.rouge_l([["a b c d"]], ["a c d"])[0] == pytest.approx(2.44 * 0.75 / (0.75 + 1.44), rel=1e-6)


def test_cider_of_the_reference_itself_is_ten_and_of_other_words_nothing():
    references = [["the red ball lies here"], ["one small green boat sails"], ["my star shines at night"]]
    values = metrics.cider(references, ["the red ball lies here", "one small green boat sails", "nobody knows"])
    assert values == pytest.approx([10, 10, 0])


def test_meteor_is_one_for_the_same_words_else_pycocoevalcaps_and_its_process_ends():
    """One start, since METEOR reads its tables of paraphrases for ten seconds."""
    with java.meteor() as meteor:
        process = meteor._process
        caption = "a red ball lies on the green grass"
        assert meteor.score(meteor.statistics([[caption]], [caption]).sum(axis=0)) == pytest.approx(1.0, abs=0.01)
        theirs, _ = meteor._scorer.compute_score(
            dict(enumerate(REFERENCES)), {n: [c] for n, c in enumerate(CANDIDATES)}
        )
        assert meteor.score(meteor.statistics(REFERENCES, CANDIDATES).sum(axis=0)) == pytest.approx(theirs)
    assert process.poll() is not None
    assert process.stdout.closed


def test_java_leaves_the_path_as_it_was():
    before = os.environ["PATH"]
    with java.meteor():
        pass
    assert os.environ["PATH"] == before


def test_tokenise_keeps_the_order_and_empty_captions():
    tokenised = tokenise([["A dog, running.", "The man's dog"], [" "]], ["", "Two\nlines\u2028and \x85 three!"])
    assert tokenised.references == [["a dog running", "the man 's dog"], [""]]
    assert tokenised.candidates == ["", "two lines and three"]


def test_plain_tokens_are_ptb_tokens_for_plain_words():
    captions = ["A Red ball, on the grass.", "two fish; one blue boat!", "a kite above 3 trees"]
    assert [metrics.plain_tokens(caption) for caption in captions] == java.ptb_tokenize(captions)


def test_intervals_hold_the_value_and_repeat():
    captions = Tokenised(REFERENCES * 10, CANDIDATES * 10)
    names = ["BLEU", "ROUGE_L", "CIDEr"]
    first = by_name(captions, names)
    assert list(first) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"]
    assert all(low <= value <= high and low < high for value, low, high in first.values())
    assert by_name(captions, names) == first
    assert by_name(captions, names, seed=1) != first


def test_interval_of_equal_pictures_has_no_width():
    value, low, high = by_name(Tokenised([["a b c d"]] * 5, ["a c d"] * 5), ["ROUGE_L"])["ROUGE-L"]
    assert low == pytest.approx(value) and high == pytest.approx(value)


def test_scoring_prints_nothing_and_leaves_no_thread(capsys: pytest.CaptureFixture[str]):
    threads = threading.active_count()
    sets = {"all": np.arange(3), "first": np.array([0])}
    found = score_sets(tokenise(REFERENCES, CANDIDATES), sets, ["BLEU", "METEOR", "ROUGE_L", "CIDEr"], 10, 0)
    meteor = {name: one.value for name, of_set in found.items() for one in of_set if one.metric == "METEOR"}
    assert meteor["all"] < meteor["first"] == pytest.approx(1.0, abs=0.01)
    assert capsys.readouterr() == ("", "")
    assert threading.active_count() == threads


def test_a_set_of_some_pictures_is_scored_as_if_it_were_all() -> None:
    """CIDEr's document frequencies are also those of the set's own references."""
    captions = Tokenised(REFERENCES * 4, CANDIDATES * 4)
    rows = np.array([0, 1, 4, 9, 10])
    sets = {"all": np.arange(12), "some": rows}
    names = ["BLEU", "ROUGE_L", "CIDEr"]
    found = score_sets(captions, sets, names, 20, 0)
    assert found["some"] == score(captions.of(rows), names, 20, 0)
    assert found["all"] == score(captions, names, 20, 0)
    assert found["some"] != found["all"]


def test_given_means_are_averaged_with_intervals():
    values = np.array([0.1, 0.2, 0.6])
    sets = {"all": np.arange(3), "last": np.array([2])}
    found = score_sets(Tokenised(REFERENCES, CANDIDATES), sets, ["ROUGE_L"], 50, 0, means={"SPICE": values})
    assert [one.metric for one in found["all"]] == ["ROUGE-L", "SPICE"]
    assert found["all"][1].value == pytest.approx(0.3)
    assert 0.1 <= found["all"][1].low < 0.3 < found["all"][1].high <= 0.6
    assert found["last"][1].value == found["last"][1].low == found["last"][1].high == pytest.approx(0.6)


def test_chrf_is_sacrebleus_for_all_pictures_and_has_an_interval():
    from sacrebleu.metrics import CHRF

    references = [["ein hund rennt", "ein schwarzer hund"], ["zwei katzen schlafen", "katzen"]]
    candidates = ["ein hund schläft", "zwei katzen"]
    (found,) = score(Tokenised(references, candidates), ["chrF"], 20, 0)
    wanted = CHRF().corpus_score(candidates, list(map(list, zip(*references, strict=True)))).score
    assert found.metric == "chrF"
    assert found.value == pytest.approx(wanted / 100)
    assert found.low < found.value < found.high


def test_other_languages_are_scored_on_icus_words_without_java(monkeypatch):
    monkeypatch.setattr(java, "ptb_tokenize", None)
    references, candidates = (
        [["两只黑色的狗在奔跑。"], ["一位老人坐在长椅上。"]],
        ["两只狗在奔跑", "老 人 坐 在 长 椅 上"],
    )
    captions = tokenise(references, candidates, "zh")
    assert captions.references == [["两 只 黑色 的 狗 在 奔跑"], ["一位 老人 坐在 长椅 上"]]
    assert captions.candidates == ["两 只 狗 在 奔跑", "老人 坐在 长椅 上"]
    scores = {each.metric: each.value for each in score(captions, ["BLEU", "ROUGE_L", "CIDEr"], 10, 0)}
    assert scores["BLEU-1"] > 0.7 and scores["CIDEr"] > 1
    exact = Tokenised(captions.references, [texts[0] for texts in captions.references])
    assert score(exact, ["BLEU"], 10, 0)[3].value == pytest.approx(1)
