"""Jobs of alignment and their inputs, from plans of configs of which nothing is done."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import offline

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
MODEL = {"model": "resources/picturebook/clip"}
ARMS = ["multi", "single", "single_matched"]
SETTINGS: dict[str, dict[str, Any]] = {
    "scores alone": MODEL | {"drop_share": 0.0},
    "cosine": MODEL | {"drop_share": 0.2},
    "random": MODEL | {"score": "random", "drop_share": 0.2},
    "rematch": MODEL | {"drop_share": 0.2, "rematch": 5},
}
Plan = dict[str, list[str]]  # job -> its params and input files


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    """The plan of each of SETTINGS."""
    folder = tmp_path_factory.mktemp("plans")
    (folder / "config").mkdir()
    for name in ("config.yaml", "prompts"):
        (folder / "config" / name).symlink_to(ROOT / "config" / name)
    configs = [copy.deepcopy(DEFAULT) | {"shards": 1, "arms": ARMS} for _ in SETTINGS]
    for config, setting in zip(configs, SETTINGS.values(), strict=True):
        config["alignment"] |= setting
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/support/plans.py")], input=json.dumps(configs), cwd=folder,
        env=offline(os.environ), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(zip(SETTINGS, json.loads(done.stdout.splitlines()[-1]), strict=True))


def _inputs(plan: Plan, rule: str, folder: str) -> set[str]:
    """The files below a folder of the results that the jobs of a rule read."""
    assert any(job.split()[0] == rule for job in plan), f"no job of {rule}"
    texts = {text for job, of_job in plan.items() if job.split()[0] == rule for text in of_job}
    return {text for text in texts if text.startswith(f"results/picturebook/{folder}/")}


def test_what_single_matched_draws_depends_on_no_table_that_a_threshold_changes(plans: dict[str, Plan]) -> None:
    def inputs(setting: str, folder: str) -> set[str]:
        return _inputs(plans[setting], "select_matched_sentences", folder)

    assert not inputs("cosine", "dataset") | inputs("cosine", "alignment")
    assert inputs("cosine", "safety") == {"results/picturebook/safety/multi/0000-of-0001.parquet"}
    # as before, so that a finished run stays finished
    assert inputs("scores alone", "dataset") == {"results/picturebook/dataset/multi/pairs.parquet"}
    assert not inputs("scores alone", "safety") | inputs("scores alone", "images")


def test_random_scores_wait_for_sentences_alone(plans: dict[str, Plan]) -> None:
    assert not any(job.startswith("score_alignment") for job in plans["random"])
    assert _inputs(plans["random"], "score_at_random", "images") == {
        f"results/picturebook/images/{arm}/sentences.parquet" for arm in ARMS
    }
    assert "results/picturebook/images/multi/0000-of-0001.parquet" in _inputs(
        plans["cosine"], "score_alignment", "images"
    )
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    assert "score_alignment" in profile["set-resources"] and "score_at_random" not in profile["set-resources"]


def test_the_gallery_waits_for_the_matches_that_it_shows(plans: dict[str, Plan]) -> None:
    matches = {f"results/picturebook/alignment/{arm}/matches/0000-of-0001.parquet" for arm in ARMS}
    assert matches <= _inputs(plans["rematch"], "write_gallery", "alignment")
    assert not matches & _inputs(plans["cosine"], "write_gallery", "alignment")
