"""Scores of a run's predictions, and the table and page of all arms."""

from pathlib import Path

import numpy as np
import pytest

from icsd.core import metrics, tables
from icsd.core.errors import InputError
from icsd.stages.evaluation.comparison import collect_scores, scores_page
from icsd.stages.evaluation.scoring import ScoredFiles, Scoring, score_captions, sets_of
from icsd.stages.evaluation.spice import Spice

REFERENCES = [
    ["a red ball on the grass", "a big red ball lies there"],
    ["two fish in the sea", "a blue fish swims"],
    ["a house under a tree", "the house is small"],
]
CANDIDATES = ["a red ball on the grass", "a blue fish in the sea", "a star"]


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
