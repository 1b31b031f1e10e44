"""The scores of several runs side by side."""

from pathlib import Path

import pytest

from icsd.cli import main
from icsd.core import tables


def rows_of(arm: str, seed: int, value: float, test: str = "test") -> list[dict]:
    about = {"arm": arm, "seed": seed, "test": test, "metric": "CIDEr"}
    return [about | {"value": value, "low": value - 0.1, "high": value + 0.1}]


def write_run(folder: Path, values: dict[tuple[str, str], float]) -> Path:
    rows = [row for (arm, test), value in values.items() for row in rows_of(arm, 0, value, test)]
    tables.write(folder / "evaluation" / "scores.parquet", tables.SCORES, rows)
    return folder


def test_runs_are_compared_on_each_others_test_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_run_without_scores_and_an_unknown_metric_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = write_run(tmp_path / "coco", {("multi", "coco"): 0.9})
    assert main(["compare", str(coco), str(tmp_path / "none")]) == 1
    assert "none/evaluation/scores.parquet: there is no such file" in capsys.readouterr().err
    assert main(["compare", str(coco), "--metric", "SPICE"]) == 1
    assert "--metric SPICE: no run has this metric; the metrics there are CIDEr" in capsys.readouterr().err


def test_scores_of_another_language_refuse_metrics_of_english(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["scores", str(tmp_path / "results.json"), "--annotations", str(tmp_path / "captions.json")]
    assert main([*files, "--language", "zh"]) == 1
    assert (
        "--language zh: METEOR in --metrics, for English alone; give --metrics BLEU ROUGE_L" in capsys.readouterr().err
    )
