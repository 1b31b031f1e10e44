"""The resources that a job requests: by the size of its input, and more after it ran short of them."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from icsd.core import tables
from icsd.core.vectors import to_lists
from icsd.workflow.failures import FailureCause, failure_cause_in, failure_causes
from icsd.workflow.resources import Jobs, raised, size_of

JOBS = Jobs(margin=3.0)
MEMORY, TIME = FailureCause.MEMORY, FailureCause.TIME
KILLED = {
    "cgroup": "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of the step tasks have been killed.",
    "cgroup before 23": "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.batch. Some of your processes may "
    "have been killed by the cgroup out-of-memory handler.",
    "srun": "srun: error: c1: task 0: Out Of Memory",
    "without cgroups": "slurmstepd-c1: error: StepId=7.0 exceeded memory limit (505755648 > 314572800), being killed",
}
LATE = "slurmstepd: error: *** JOB 7 ON c1 CANCELLED AT 2026-03-01T10:00:00 DUE TO TIME LIMIT ***"
OTHERS = {
    "scancel": "slurmstepd: error: *** JOB 7 ON c1 CANCELLED AT 2026-03-01T10:00:00 ***",
    "node": "slurmstepd: error: *** JOB 7 ON c1 CANCELLED AT 2026-03-01T10:00:00 DUE TO NODE FAILURE ***",
    "preemption": "slurmstepd: error: *** JOB 7 ON c1 CANCELLED AT 2026-03-01T10:00:00 DUE TO PREEMPTION ***",
    "error": "[embed_captions/0000] ERROR: resources/models/clip: there is no such folder",
    "caption": "[train] step 5: a caption: slurmstepd: oom_kill due to time limit",
    "nothing": "",
}  # fmt: skip


@pytest.fixture(autouse=True)
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the executor's logs, without SLURM's commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def write_log(job: int, text: str, rule: str = "draw", wildcards: str = "multi_0001-of-0002", name: str = ".") -> None:
    path = Path(f".snakemake/slurm_logs/{name}/rule_{rule}/{wildcards}/{job}.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"Building DAG of jobs...\n{text}\nsrun: Job step aborted\n")


def ask(function: Any, attempt: int = 1, wildcards: tuple[str, ...] = ("multi", "0001-of-0002"), **inputs: Any) -> int:
    return function(wildcards, SimpleNamespace(**inputs), attempt, "draw")


def write_embeddings(path: str, rows: int) -> str:
    vectors = np.random.default_rng(0).normal(size=(rows, 64)).astype(np.float32)
    tables.write(path, tables.EMBEDDINGS, pa.table({"caption_id": np.arange(rows), "embedding": to_lists(vectors)}))
    return path


# --- Causes of failures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", KILLED.values(), ids=KILLED)
def test_an_out_of_memory_kill_is_a_cause(text: str):
    assert failure_cause_in(f"before\n{text}\nafter") is MEMORY


def test_a_timeout_is_a_cause():
    assert failure_cause_in(f"before\n{LATE}\nafter") is TIME


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_another_failure_has_no_cause(text: str):
    assert failure_cause_in(text) is None


def test_as_many_logs_count_as_there_were_attempts():
    for job, text in ((99, LATE), (101, KILLED["srun"]), (102, OTHERS["scancel"]), (103, LATE)):
        write_log(job, text)
    write_log(104, LATE, wildcards="multi_0000-of-0002")
    wildcards = ("multi", "0001-of-0002")
    assert [failure_causes("draw", wildcards, attempt) for attempt in (1, 2, 3)] == [
        [],
        [TIME],
        [TIME],
    ]
    assert failure_causes("draw", wildcards, 4) == [MEMORY, TIME]
    assert failure_causes("draw", wildcards, 5) == [TIME, MEMORY, TIME]
    assert failure_causes("draw", wildcards, 6) == failure_causes("draw", wildcards, 5)
    assert failure_causes("other", wildcards, 4) == []


def test_only_failures_of_a_runs_own_jobs_count():
    write_log(5, LATE, name="coco@icsd_1")
    write_log(6, KILLED["srun"], name="coco@icsd_2")
    write_log(7, KILLED["srun"], name="coco2@icsd_3")
    wildcards = ("multi", "0001-of-0002")
    assert failure_causes("draw", wildcards, 4, "coco") == [TIME, MEMORY]
    assert failure_causes("draw", wildcards, 4) == []
    draws = {run: Jobs(margin=3.0, run=run).memory(100) for run in ("coco", "coco2", "other")}
    assert {run: ask(draw, attempt=4) for run, draw in draws.items()} == {"coco": 200, "coco2": 200, "other": 100}


def test_squeue_names_the_cause_where_a_log_does_not(at: Path):
    squeue = at / "bin/squeue"
    squeue.parent.mkdir()
    squeue.write_text('#!/bin/sh\ncase "$*" in *--jobs=20[12]) echo OUT_OF_MEMORY;; *) echo FAILED;; esac\n')
    squeue.chmod(0o755)
    for job, text in ((201, ""), (202, LATE), (203, "")):
        write_log(job, text)
    assert failure_causes("draw", ("multi", "0001-of-0002"), 4) == [MEMORY, TIME]


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_an_amount_doubles_with_each_failure_for_it():
    assert raised(10.2, TIME, []) == 11
    assert raised(10.0, TIME, [TIME, MEMORY, TIME]) == 40


def test_a_job_requests_more_only_of_what_it_ran_short_of():
    write_log(1, KILLED["cgroup"])
    write_log(2, OTHERS["node"])
    assert [ask(JOBS.memory(400), attempt) for attempt in (1, 2, 3)] == [400, 400, 800]
    assert [ask(JOBS.minutes(10), attempt) for attempt in (1, 2, 3)] == [10, 10, 10]
    write_log(3, LATE)
    assert [ask(JOBS.minutes(10), attempt) for attempt in (2, 4)] == [20, 20]
    assert ask(JOBS.memory(400), 4) == 800


def test_no_job_requests_more_than_the_cluster_has():
    for job in (1, 2, 3):
        write_log(job, LATE)
    limits = {"most_minutes": SimpleNamespace(value=50), "nodes": SimpleNamespace(value=1)}
    jobs = Jobs.on_cluster(3.0, limits, inside=False)
    assert [ask(jobs.minutes(10), attempt) for attempt in (1, 2, 3, 4)] == [10, 20, 40, 50]
    assert ask(jobs.memory(10_000)) == 10_000
    assert Jobs.on_cluster(3.0, None, inside=True) == Jobs(3.0, inside=True)


def test_a_job_that_failed_without_slurm_requests_the_same():
    assert ask(JOBS.memory(400), attempt=3) == 400


def test_a_job_without_wildcards_has_its_logs_beside_the_rule():
    write_log(1, KILLED["srun"], wildcards=".")
    assert ask(JOBS.memory(400), attempt=2, wildcards=()) == 800


def test_memory_follows_the_vectors_and_not_the_compressed_file():
    path = write_embeddings("all.parquet", 5000)
    size = size_of(path)
    vectors = 5000 * (64 * 4 + 8)  # random ones, which do not get smaller
    assert size.rows == 5000 and vectors <= size.bytes < 2 * vectors  # a small table has them twice, as a dictionary
    Path("index.faiss").write_bytes(bytes(3_000_000))
    asked = ask(JOBS.memory(100, embeddings=5, index=2), embeddings=path, index="index.faiss")
    assert asked == pytest.approx(100 + 5 * size.bytes / 1e6 + 6, abs=1)
    assert ask(JOBS.memory(100, embeddings=5, index=2), embeddings=[path, path], index=[]) == pytest.approx(
        100 + 10 * size.bytes / 1e6, abs=1
    )
    read_in_parts = JOBS.memory(100, most={"embeddings": 1_000_000}, embeddings=5, index=2)
    assert ask(read_in_parts, embeddings=path, index="index.faiss") == 100 + 5 + 6


def test_minutes_follow_the_rows():
    captions = write_embeddings("captions.parquet", 600)
    shard = write_embeddings("shard.parquet", 40)
    assert ask(JOBS.minutes(10, "captions", rate=2.0), captions=captions) == 10 + 15
    assert ask(JOBS.minutes(10, "captions", rate=2.0, parts=5), captions=captions) == 10 + 3
    assert ask(JOBS.minutes(10, "shard", "captions", rate=100.0), captions=captions, shard=shard) == 10 + 12
    assert ask(JOBS.minutes(10, "captions", rate=1.0, work=lambda rows: rows / 10), captions=captions) == 10 + 3
    assert ask(JOBS.minutes(10, "captions"), captions=captions) == 10


def test_a_table_made_anew_is_looked_at_again():
    asked = JOBS.minutes(0, "captions", rate=1.0)
    path = write_embeddings("captions.parquet", 20)
    assert ask(asked, captions=path) == 1
    write_embeddings("captions.parquet", 60)
    os.utime(path, (1, 1))
    assert ask(asked, captions=path) == 3


def test_a_missing_input_is_left_to_snakemake():
    with pytest.raises(FileNotFoundError) as error:
        ask(JOBS.memory(100, embeddings=5), embeddings="not/there.parquet")
    assert error.value.filename == "not/there.parquet"


def test_a_broken_table_is_left_to_the_job():
    Path("broken.parquet").write_bytes(b"PAR1 and no more")
    assert ask(JOBS.minutes(10, "captions", rate=1.0), captions="broken.parquet") == 10


def test_nothing_is_looked_up_inside_a_job():
    write_log(1, KILLED["srun"])
    inside = Jobs(margin=3.0, inside=True)
    assert ask(inside.memory(400, embeddings=5), attempt=2, embeddings="not/there.parquet") == 400
    assert ask(inside.minutes(10, "embeddings", rate=1.0), attempt=2, embeddings="not/there.parquet") == 10
