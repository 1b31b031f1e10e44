import os
import threading
from pathlib import Path

import numpy as np
import pytest

from icsd.cli import main
from icsd.core import metrics, tables
from icsd.core.errors import InputError
from icsd.stages.evaluation import java
from icsd.stages.evaluation.bootstrap import Tokenised, score, score_sets, tokenise
from icsd.stages.evaluation.comparison import collect_scores, scores_page
from icsd.stages.evaluation.scoring import ScoredFiles, Scoring, score_captions, sets_of
from icsd.stages.evaluation.spice import Spice

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


DOMAINS = {0: "in-domain", 1: "out-domain", 2: "in-domain"}
NO_SPICE = Spice("nowhere", "java")


def write_test_set(folder: Path, predicted: int = 3, domains: dict[int, str] | None = None) -> ScoredFiles:
    captions = [
        {"caption_id": 10 * image + n, "image_id": image, "caption": text, "split": "test"}
        for image, texts in enumerate(REFERENCES)
        for n, text in enumerate(texts)
    ]
    tables.write(folder / "captions.parquet", tables.CAPTIONS, captions)
    of_images = [{"image_id": image, "domain": domain} for image, domain in (domains or {}).items()]
    tables.write(folder / "domains.parquet", tables.DOMAINS, of_images)
    rows = [{"image_id": f"real-{n}", "caption": text} for n, text in enumerate(CANDIDATES[:predicted])]
    tables.write(folder / "predictions.parquet", tables.PREDICTIONS, rows)
    return ScoredFiles(*(str(folder / f"{name}.parquet") for name in ("predictions", "captions", "domains")))


def score_files(files: ScoredFiles, folder: Path, test: str = "test", metrics: tuple[str, ...] = ("BLEU",)) -> list:
    score_captions(files, Scoring(metrics, 50, NO_SPICE), str(folder / "scores.parquet"), "multi", 3, test)
    return tables.read(folder / "scores.parquet", tables.SCORES).to_pylist()


def test_score_captions_joins_by_id(tmp_path: Path):
    rows = score_files(write_test_set(tmp_path), tmp_path)
    assert [(row["arm"], row["seed"], row["test"], row["metric"]) for row in rows] == [
        ("multi", 3, "test", f"BLEU-{n}") for n in (1, 2, 3, 4)
    ]
    assert rows[0]["value"] == pytest.approx(13 / 14 * np.exp(1 - 15 / 14), rel=1e-6)


def test_domains_are_scored_as_sets_of_their_own_from_one_prediction(tmp_path: Path):
    rows = score_files(write_test_set(tmp_path, domains=DOMAINS), tmp_path, "nocaps", ("ROUGE_L", "CIDEr"))
    found = {(row["test"], row["metric"]): row["value"] for row in rows}
    tests = ["nocaps", "nocaps/in-domain", "nocaps/out-domain"]
    assert list(dict.fromkeys(row["test"] for row in rows)) == tests
    rouge = metrics.rouge_l(REFERENCES, CANDIDATES)
    assert [found[test, "ROUGE-L"] for test in tests] == pytest.approx([rouge.mean(), rouge[[0, 2]].mean(), rouge[1]])
    inside = metrics.cider([REFERENCES[0], REFERENCES[2]], [CANDIDATES[0], CANDIDATES[2]])
    assert found["nocaps/in-domain", "CIDEr"] == pytest.approx(inside.mean())


def test_pictures_without_a_domain_are_only_in_the_whole_set(tmp_path: Path):
    sets = sets_of("nocaps", ["real-1", "real-2"], {"real-2": "near-domain"})
    assert {name: rows.tolist() for name, rows in sets.items()} == {"nocaps": [0, 1], "nocaps/near-domain": [1]}


def test_picture_without_prediction_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="real-2"):
        score_files(write_test_set(tmp_path, predicted=2), tmp_path)
    assert not (tmp_path / "scores.parquet").exists()


def test_test_set_without_captions_is_one_message(tmp_path: Path):
    files = write_test_set(tmp_path)
    tables.write(files.captions, tables.CAPTIONS, [])
    with pytest.raises(InputError, match=r"captions\.parquet.*no caption"):
        score_files(files, tmp_path)


def rows_of(arm: str, seed: int, value: float, test: str = "test") -> list[dict]:
    about = {"arm": arm, "seed": seed, "test": test, "metric": "CIDEr"}
    return [about | {"value": value, "low": value - 0.1, "high": value + 0.1}]


def write_runs(folder: Path, values: dict[tuple[str, str], float]) -> tuple[list[str], dict[str, str]]:
    """Write the scores of each arm and test, and the pairs of each arm: two pictures, four pairs."""
    parts, pairs = [], {}
    for (arm, test), value in values.items():
        parts.append(str(folder / f"{arm}-{test}-scores.parquet"))
        sets = [test, f"{test}/in-domain", f"{test}/out-domain"] if test == "nocaps" else [test]
        tables.write(parts[-1], tables.SCORES, [row for name in sets for row in rows_of(arm, 0, value, name)])
        pairs[arm] = str(folder / f"{arm}-pairs.parquet")
        rows = [{"image_id": f"{arm}-{n // 2}", "caption_id": n, "caption": "a ball"} for n in range(4)]
        tables.write(pairs[arm], tables.PAIRS, rows)
    return parts, pairs


def test_collected_scores_are_a_table_and_a_page(tmp_path: Path):
    files = write_test_set(tmp_path)
    parts, pairs = write_runs(tmp_path, {("multi", "test"): 1.449, ("single", "test"): 1.319})
    table, page = tmp_path / "scores.parquet", tmp_path / "scores.md"
    collect_scores(parts, pairs, {"test": (files.captions, files.domains)}, str(table), str(page), length="500 steps")
    assert [row["arm"] for row in tables.read(table, tables.SCORES).to_pylist()] == ["multi", "single"]
    assert "| multi  |        2 |     4 |    0 | 144.9 (134.9 to 154.9) |" in page.read_text()
    assert "3 pictures with 6 captions" in page.read_text()


def test_test_sets_stand_side_by_side_and_each_has_a_section(tmp_path: Path):
    files = write_test_set(tmp_path, domains=DOMAINS)
    values = {("multi", "coco"): 0.9, ("multi", "nocaps"): 0.5, ("single", "coco"): 0.8, ("single", "nocaps"): 0.4}
    parts, pairs = write_runs(tmp_path, values)
    (tmp_path / "none").mkdir()
    coco = write_test_set(tmp_path / "none")
    tests = {"coco": (coco.captions, coco.domains), "nocaps": (files.captions, files.domains)}
    collect_scores(
        parts, pairs, tests, str(tmp_path / "scores.parquet"), str(tmp_path / "scores.md"), length="500 steps"
    )
    page = (tmp_path / "scores.md").read_text()
    assert "| arm    | pictures | pairs | coco | nocaps | nocaps/in-domain | nocaps/out-domain |" in page
    assert "| multi  |        2 |     4 | 90.0 |   50.0 |             50.0 |              50.0 |" in page
    sections = page.split("\n## ")
    assert [section.splitlines()[0] for section in sections[1:]] == [
        "coco", "nocaps", "nocaps/in-domain", "nocaps/out-domain",
    ]  # fmt: skip
    assert "2 pictures with 4 captions." in sections[3] and "| 50.0 (40.0 to 60.0) |" in sections[3]


def test_page_of_several_seeds_shows_their_means():
    rows = [*rows_of("multi", 0, 1.2), *rows_of("multi", 1, 1.4)]
    assert "| multi | 130.0 ± 14.1 |" in scores_page(rows, {"multi": (10, 20)}, {"test": (5, 25)}, "500 steps")


def write_run(folder: Path, values: dict[tuple[str, str], float]) -> Path:
    rows = [row for (arm, test), value in values.items() for row in rows_of(arm, 0, value, test)]
    tables.write(folder / "evaluation" / "scores.parquet", tables.SCORES, rows)
    return folder


def test_runs_are_compared_on_each_others_test_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    coco = write_run(tmp_path / "coco", {("multi", "coco"): 0.9, ("multi", "flickr30k"): 0.5, ("real", "coco"): 1.2})
    flickr = write_run(tmp_path / "flickr30k", {("multi", "flickr30k"): 0.6, ("multi", "coco"): 0.7})
    assert main(["compare", str(coco), str(flickr)]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| run       | arm   |  coco | flickr30k |",
        "| --------- | ----- | ----: | --------: |",
        "| coco      | multi |  90.0 |      50.0 |",
        "| coco      | real  | 120.0 |         – |",
        "| flickr30k | multi |  70.0 |      60.0 |",
    ]


def test_a_run_without_scores_and_an_unknown_metric_are_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    coco = write_run(tmp_path / "coco", {("multi", "coco"): 0.9})
    assert main(["compare", str(coco), str(tmp_path / "none")]) == 1
    assert "none/evaluation/scores.parquet: there is no such file" in capsys.readouterr().err
    assert main(["compare", str(coco), "--metric", "SPICE"]) == 1
    assert "--metric SPICE: no run has this metric; the metrics there are CIDEr" in capsys.readouterr().err
