import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from icsd import metrics, tables
from icsd.errors import InputError
from icsd.evaluation import java
from icsd.evaluation.scores import Tokenised, score, tokenise
from icsd.evaluation.scoring import score_captions
from icsd.evaluation.summary import collect_scores, scores_page

SHARED = Path(__file__).parents[3] / "shared" / "data"
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


def test_meteor_is_one_for_the_same_words_and_its_process_ends():
    with java.meteor() as process:
        pid = process._process
        caption = "a red ball lies on the green grass"
        sums = process.statistics([[caption]], [caption]).sum(axis=0)
        assert process.score(sums) == pytest.approx(1.0, abs=0.01)
    assert pid.poll() is not None
    assert pid.stdout.closed


def test_meteor_of_sums_is_that_of_pycocoevalcap():
    with java.meteor() as process:
        theirs, _ = process._scorer.compute_score(
            dict(enumerate(REFERENCES)), {n: [c] for n, c in enumerate(CANDIDATES)}
        )
        assert process.score(process.statistics(REFERENCES, CANDIDATES).sum(axis=0)) == pytest.approx(theirs)


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
    score(tokenise(REFERENCES, CANDIDATES), ["BLEU", "METEOR", "ROUGE_L", "CIDEr"], 10, 0)
    assert capsys.readouterr() == ("", "")
    assert threading.active_count() == threads


def write_test_set(folder: Path, predicted: int = 3) -> tuple[str, str]:
    captions = [
        {"caption_id": 10 * image + n, "image_id": image, "caption": text, "split": "test"}
        for image, texts in enumerate(REFERENCES)
        for n, text in enumerate(texts)
    ]
    tables.write(folder / "captions.parquet", tables.CAPTIONS, captions)
    rows = [{"image_id": f"real-{n}", "caption": text} for n, text in enumerate(CANDIDATES[:predicted])]
    tables.write(folder / "predictions.parquet", tables.PREDICTIONS, rows)
    return str(folder / "predictions.parquet"), str(folder / "captions.parquet")


def test_score_captions_joins_by_id(tmp_path: Path):
    predictions, captions = write_test_set(tmp_path)
    score_captions(predictions, captions, str(tmp_path / "scores.parquet"), "multi", 3, ["BLEU"], 50)
    rows = tables.read(tmp_path / "scores.parquet", tables.SCORES).to_pylist()
    assert [(row["arm"], row["seed"], row["metric"]) for row in rows] == [
        ("multi", 3, f"BLEU-{n}") for n in (1, 2, 3, 4)
    ]
    assert rows[0]["value"] == pytest.approx(13 / 14 * np.exp(1 - 15 / 14), rel=1e-6)


def test_picture_without_prediction_is_named(tmp_path: Path):
    predictions, captions = write_test_set(tmp_path, predicted=2)
    with pytest.raises(InputError, match="real-2"):
        score_captions(predictions, captions, str(tmp_path / "scores.parquet"), "multi", 0, ["BLEU"], 50)
    assert not (tmp_path / "scores.parquet").exists()


def test_test_set_without_captions_is_one_message(tmp_path: Path):
    predictions, captions = write_test_set(tmp_path)
    tables.write(captions, tables.CAPTIONS, [])
    with pytest.raises(InputError, match=r"captions\.parquet.*no caption"):
        score_captions(predictions, captions, str(tmp_path / "scores.parquet"), "multi", 0, ["BLEU"], 50)


def rows_of(arm: str, seed: int, value: float) -> list[dict]:
    return [{"arm": arm, "seed": seed, "metric": "CIDEr", "value": value, "low": value - 0.1, "high": value + 0.1}]


def test_collected_scores_are_a_table_and_a_page(tmp_path: Path):
    _, captions = write_test_set(tmp_path)
    parts, pairs = [], {}
    for arm, value in (("multi", 1.449), ("single", 1.319)):
        parts.append(str(tmp_path / f"{arm}.parquet"))
        tables.write(parts[-1], tables.SCORES, rows_of(arm, 0, value))
        pairs[arm] = str(tmp_path / f"{arm}-pairs.parquet")
        rows = [{"image_id": f"{arm}-{n // 2}", "caption_id": n, "caption": "a ball"} for n in range(4)]
        tables.write(pairs[arm], tables.PAIRS, rows)
    table, page = tmp_path / "scores.parquet", tmp_path / "scores.md"
    collect_scores(parts, pairs, captions, str(table), str(page), steps=500)
    assert [row["arm"] for row in tables.read(table, tables.SCORES).to_pylist()] == ["multi", "single"]
    assert "| multi  |        2 |     4 |    0 | 144.9 (134.9 to 154.9) |" in page.read_text()
    assert "3 pictures with 6 captions" in page.read_text()


def test_page_of_several_seeds_shows_their_means():
    rows = [*rows_of("multi", 0, 1.2), *rows_of("multi", 1, 1.4)]
    assert "| multi | 130.0 ± 14.1 |" in scores_page(rows, {"multi": (10, 20)}, 5, 25, 500)


@pytest.mark.skipif(not SHARED.exists(), reason="coco-caption's example is not beside this checkout (../shared/data)")
def test_published_scores_of_coco_captions_example():
    import pyarrow.parquet as pq

    results = json.loads((SHARED / "coco_caption_fakecap_results.json").read_text())
    references: dict[int, list[str]] = {row["image_id"]: [] for row in results}
    for row in pq.read_table(SHARED / "coco_val2014_captions.parquet", columns=["image_id", "caption"]).to_pylist():
        references.get(row["image_id"], []).append(row["caption"])
    tokenised = tokenise([references[row["image_id"]] for row in results], [row["caption"] for row in results])
    found = {one.metric: one.value for one in score(tokenised, ["BLEU", "METEOR", "ROUGE_L", "CIDEr"], 20, 0)}
    published = {
        "BLEU-1": 0.579,
        "BLEU-2": 0.404,
        "BLEU-3": 0.279,
        "BLEU-4": 0.191,
        "METEOR": 0.195,
        "ROUGE-L": 0.396,
        "CIDEr": 0.600,
    }
    assert found == pytest.approx(published, abs=6e-4)
