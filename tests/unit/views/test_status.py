"""Progress of a run by its tables, logs, benchmarks and the output of SLURM's commands."""

import re
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml

from icsd.config import Config, load_config
from icsd.core import tables
from icsd.core.errors import ConfigError
from icsd.views.options import read_config
from icsd.views.run import configured_run
from icsd.views.status import run_status, status_page
from icsd.views.status.jobs import Cluster, StageStatus, stage_status, stages
from icsd.workflow.slurm import Job

ROOT = Path(__file__).parents[3]
CHECKOUT = Path("/srv/icsd")
LOG = "2026-11-26 07:26:07,651 INFO images: 10 of 40, 0.5 a second, 60 s left\n"


@pytest.fixture
def config() -> Config:
    values = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    values["alignment"] |= {"model": None, "drop_share": 0.0}
    return load_config(values | {"run": "tiny", "shards": 4, "arms": ["multi"]})


def _job(number: int, state: str, seconds: float = 0.0, gpus: int = 1, node: str = "g1") -> Job:
    what = f"rule_generate_images_wildcards_multi_{number:04d}-of-0004"
    return Job(str(number), "tiny@icsd_1b9d", state, what, CHECKOUT, seconds, gpus, "0:0", node)


def _images(results: Path, number: int, rows: int) -> None:
    row = {"image": {"bytes": b"png", "path": "a"}, "sentence": "a", "seed": 1, "model": "m"}
    path = results / "images" / "multi" / f"{number:04d}-of-0004.parquet"
    tables.write(path, tables.IMAGES, [row | {"image_id": f"multi-{i}"} for i in range(rows)])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _status(config: Config, results: Path, cluster: Cluster, checkout: Path = CHECKOUT) -> StageStatus:
    run = configured_run(config, results)
    return stage_status("images", dict(stages(run, config))["images"], run, checkout, cluster)


def test_every_state_is_counted_by_the_queue_and_the_accounting(config: Config, tmp_path: Path) -> None:
    _images(tmp_path, 0, 30)
    _write(tmp_path / "logs/generate_images/multi/0002-of-0004.log", LOG)
    accounted = [
        _job(0, "OUT_OF_MEMORY", 1800), _job(0, "COMPLETED", 1200), _job(2, "RUNNING", 600), _job(3, "TIMEOUT", 3600, 2)
    ]  # fmt: skip
    found = _status(config, tmp_path, Cluster([_job(1, "PENDING"), _job(2, "RUNNING")], accounted))
    assert (found.jobs, found.done, found.running, found.queued) == (4, 1, 1, 1)
    assert [(one.job.wildcards, one.reason) for one in found.failures] == [(("multi", "0003-of-0004"), "TIMEOUT on g1")]
    assert found.items == 30
    assert found.seconds == 3000  # of both attempts
    assert found.gpu_hours == pytest.approx((1800 + 1200 + 600 + 2 * 3600) / 3600)
    assert found.left_s == 60 + 2 * 3000  # what the log says, then two more, one at a time


def test_a_failed_attempt_that_is_tried_again_is_no_failure(config: Config, tmp_path: Path) -> None:
    found = _status(config, tmp_path, Cluster([_job(3, "PENDING")], [_job(3, "TIMEOUT", 60)]))
    assert (found.queued, found.failures) == (1, [])
    assert found.left_s is None


def test_a_run_of_this_machine_is_counted_by_files_alone(config: Config, tmp_path: Path) -> None:
    results, checkout = tmp_path / "results" / "tiny", tmp_path
    for number, seconds in ((0, 40), (1, 20)):
        _images(results, number, 15)
        _write(
            results / f"benchmarks/generate_images/multi/{number:04d}-of-0004.tsv", f"s\th:m:s\n{seconds}\t0:00:40\n"
        )
    _write(results / "logs/generate_images/multi/0003-of-0004.log", "2026-11-26 07:26:07,651 ERROR no | room\n")
    begun = "results/tiny/images/multi/0002-of-0004.parquet"
    _write(checkout / ".snakemake/incomplete" / urlsafe_b64encode(begun.encode()).decode(), "")
    before = _status(config, results, Cluster(), checkout)
    assert before.running == 0  # incomplete, but no Snakemake has the folder locked
    _write(checkout / ".snakemake/locks/0.input.lock", "")
    found = _status(config, results, Cluster(), checkout)
    assert (found.done, found.running, found.queued) == (2, 1, 0)
    assert [one.reason for one in found.failures] == ["no | room"]
    assert found.gpu_hours is None
    assert found.items and found.items / found.seconds == 0.5
    assert found.left_s == 60  # a mean job for the one that runs, and for the one that has failed


def test_the_page_shows_unknown_values(config: Config, tmp_path: Path) -> None:
    _write(tmp_path / "logs/summarize_groups/0001-of-0004.log", "2026-11-26 07:26:07,651 ERROR " + "x" * 500 + "\n")
    page = run_status(config, ROOT / "config/prompts/paper.txt", tmp_path, results=tmp_path)
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in page.splitlines()
        if line.startswith("|")
    }
    assert rows["summaries"] == ["4", "0", "0", "0", "1", "", "", "?", "", ""]
    assert rows["all"][:5] == ["25", "0", "0", "0", "1"]
    assert "- summarize_groups/0001-of-0004: xxx" in page
    assert max(len(line) for line in page.splitlines()) < 260


def test_the_page_names_a_cluster_without_accounting() -> None:
    nothing = [StageStatus("images", 4, 0, 0, 0)]
    assert "no accounting" in status_page("tiny", nothing, {}, Cluster([_job(1, "PENDING")], None))
    assert "no accounting" not in status_page("tiny", nothing, {}, Cluster([], None))


def test_every_job_of_the_stages_has_a_rule(config: Config) -> None:
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    guarded = load_config(config.model_dump() | {"guard": {"references": "report"}})
    found = dict(stages(configured_run(guarded), guarded))
    names = ["embed_references/val", "embed_references/test", "guard_captions"]
    assert [job.name for job in found["guard"]] == names
    assert found.keys() - dict(stages(configured_run(config), config)).keys() == {"guard"}
    for jobs in found.values():
        for job in jobs:
            assert f"rule {job.rule}:" in rules or f" as {job.rule} with:" in rules


@pytest.mark.parametrize("guard", [{"references": "report", "min_cosine": None}, {"duplicates": "drop"}])
def test_references_have_no_job_where_no_vectors_are_compared(config: Config, guard: dict[str, Any]) -> None:
    guarded = load_config(config.model_dump() | {"guard": guard})
    assert [job.name for job in dict(stages(configured_run(guarded), guarded))["guard"]] == ["guard_captions"]


def test_a_references_job_is_done_and_queued_under_its_name(config: Config, tmp_path: Path) -> None:
    guarded = load_config(config.model_dump() | {"guard": {"references": "drop"}})
    run = configured_run(guarded, tmp_path)
    _write(tmp_path / "embeddings/references/val.parquet", "")
    waiting = Job("1", "tiny@icsd_1b9d", "PENDING", "rule_embed_references_wildcards_test", CHECKOUT, 0.0, 1, "0:0", "")
    found = stage_status("guard", dict(stages(run, guarded))["guard"], run, CHECKOUT, Cluster([waiting]))
    assert (found.jobs, found.done, found.queued) == (3, 1, 1)


def _with_candidates(config: Config, **alignment: Any) -> Config:
    model = {"model": "resources/picturebook/clip"}
    images = config.images.model_dump() | {"candidates": 3}
    return load_config(config.model_dump() | {"images": images, "alignment": model | alignment})


def test_candidates_and_scores_have_jobs_of_their_own(config: Config, tmp_path: Path) -> None:
    several = _with_candidates(config, rematch=5)
    found = dict(stages(configured_run(several, tmp_path), several))
    assert (len(found["images"]), len(found["alignment"]), len(found["safety"])) == (2 + 12, 12 + 4, 12)
    choosing, drawing = found["images"][0], found["images"][-1]
    assert (choosing.name, choosing.comment) == (
        "select_candidates/multi-1", "rule_select_candidates_wildcards_multi_1"
    )  # fmt: skip
    assert drawing.output == tmp_path / "images/multi/candidate-2/0003-of-0004.parquet"
    assert drawing.name == "generate_images/multi/candidate-2/0003-of-0004"
    assert drawing.comment == "rule_generate_images_wildcards_multi_candidate-2_0003-of-0004"  # the executor's slashes
    matching = found["alignment"][-1]
    assert matching.output == tmp_path / "alignment/multi/matches/0003-of-0004.parquet"
    assert not dict(stages(configured_run(config, tmp_path), config))["alignment"]


@pytest.mark.parametrize("score", ["cosine", "random", "probe"])
def test_jobs_are_named_as_the_rules_name_their_logs(config: Config, score: str) -> None:
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    logs = re.findall(r'"<results>/logs/(.+)\.log"', rules)
    patterns = [re.sub(r"\\{(\w+)\\}", ".+", re.escape(log)) for log in logs]
    several = _with_candidates(config, score=score, rematch=5 if score == "cosine" else 0)
    for jobs in dict(stages(configured_run(several), several)).values():
        for job in jobs:
            assert any(re.fullmatch(pattern, job.name) for pattern in patterns), job.name


def test_the_config_is_merged_as_snakemake_merges_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    overlay = tmp_path / "a.yaml"
    overlay.write_text("run: other\nimages: {steps: 3}\n")
    found = read_config([overlay], ["shards=7"])
    assert (found.run, found.images.steps, found.shards) == ("other", 3, 7)
    assert found.images.model == read_config([], []).images.model
    with pytest.raises(ConfigError, match="--config shards must be KEY=VALUE"):
        read_config([], ["shards"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="type this command where the Snakefile is"):
        read_config([], [])
