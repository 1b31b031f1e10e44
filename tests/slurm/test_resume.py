"""The Snakemake that submitted the picture book's jobs is killed, and `icsd resume` goes on."""

import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from accounting import Job, ended
from checkout import OVERLAY, Checkout, Config, offline
from cluster import Cluster
from conftest import SHARDS, check_out
from head import LIMIT_S, QUICK, Head, Submit

from icsd.core.ids import shard_names

RULE = "embed_captions"
# its jobs begin when their Snakemake is dead, and there was time to look at them
LATER = ("--set-resources", f"{RULE}:slurm_extra='--begin=now+60'")


@pytest.fixture
def killed(
    cluster: Cluster, submit: Submit, overlay: Config, tmp_path: Path, request: pytest.FixtureRequest
) -> tuple[Checkout, str]:
    """A checkout whose Snakemake was killed when its jobs were in the queue, and the name of its run."""
    run = f"resumed-{len(request.node.name)}"
    checkout = check_out(tmp_path / "icsd", overlay | {"run": run})
    head = submit(checkout.folder, *_targets(run), "--configfile", OVERLAY, *LATER)
    cluster.wait(lambda: len(_queued(cluster, run)) == SHARDS, seconds=LIMIT_S)
    head.signal(signal.SIGKILL)
    head.wait()
    return checkout, run


def _targets(run: str) -> list[str]:
    return [f"results/{run}/embeddings/{shard}.parquet" for shard in shard_names(SHARDS)]


def _queued(cluster: Cluster, run: str) -> list[str]:
    """The run's jobs of the sharded rule that wait or run."""
    lines = cluster.run("squeue", "--noheader", "--format=%j %k").splitlines()
    return [line for line in lines if line.startswith(f"{run}@") and RULE in line]


def _resume(cluster: Cluster, checkout: Checkout, run: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "icsd.cli", "resume", "--configfile", OVERLAY, *options, "--"]
    return subprocess.run(
        [*command, *QUICK, *_targets(run)], cwd=checkout.folder, env=offline(cluster.environment), capture_output=True,
        text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip


def _row(cluster: Cluster, checkout: Checkout, stage: str) -> list[str]:
    """Return the row of a stage in `icsd status`, from its number of jobs on."""
    command = [sys.executable, "-m", "icsd.cli", "status", "--configfile", OVERLAY]
    page = subprocess.run(
        command, cwd=checkout.folder, env=offline(cluster.environment), capture_output=True, text=True, check=True
    ).stdout
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {stage} ")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def _embedding(cluster: Cluster, run: str) -> list[Job]:
    return [job for job in ended(cluster, f"{run}@") if job.rule == RULE]


def _assert_one_at_a_time(jobs: list[Job]) -> None:
    """No two attempts at a shard at the same time."""
    for shard in shard_names(SHARDS):
        spans = sorted((job.started, job.ended) for job in jobs if job.wildcards == shard)
        assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_resume_waits_for_the_jobs_and_does_none_of_them_again(
    cluster: Cluster, killed: tuple[Checkout, str], submit: Submit
) -> None:
    checkout, run = killed
    unlocked = submit(checkout.folder, "--configfile", OVERLAY, "--unlock")
    unlocked.succeed()
    refused: Head = submit(checkout.folder, *_targets(run), "--configfile", OVERLAY)
    assert refused.wait() != 0
    assert "of an earlier snakemake are in the queue" in refused.said

    assert _row(cluster, checkout, "embeddings")[:5] == ["4", "0", "0", "4", "0"]

    done = _resume(cluster, checkout, run)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"waiting for {SHARDS} jobs" in done.stderr
    jobs = _embedding(cluster, run)
    assert sorted(job.wildcards for job in jobs) == shard_names(SHARDS)
    assert {job.state for job in jobs} == {"COMPLETED"}
    embeddings = _row(cluster, checkout, "embeddings")
    assert embeddings[:6] == ["4", "4", "0", "0", "0", "200"]
    assert float(embeddings[6]) > 0 and embeddings[8] == "0.00"  # by the accounting, which has no GPU for them


def test_resume_cancels_the_jobs_and_submits_them_once(cluster: Cluster, killed: tuple[Checkout, str]) -> None:
    checkout, run = killed
    done = _resume(cluster, checkout, run, "--cancel")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    # sacct shows a job that never began from the moment on at which it might have
    cluster.wait(lambda: len(_embedding(cluster, run)) == 2 * SHARDS, seconds=LIMIT_S)
    jobs = _embedding(cluster, run)
    for state in ("CANCELLED", "COMPLETED"):
        assert sorted(job.wildcards for job in jobs if job.state == state) == shard_names(SHARDS)
    _assert_one_at_a_time(jobs)


def test_resume_leaves_a_run_alone_whose_snakemake_lives(
    cluster: Cluster, submit: Submit, overlay: Config, tmp_path: Path
) -> None:
    run = "alive"
    checkout = check_out(tmp_path / "icsd", overlay | {"run": run})
    head = submit(checkout.folder, *_targets(run)[:1], "--configfile", OVERLAY)
    cluster.wait(lambda: (checkout.results.parent / run / ".head.lease").exists(), seconds=LIMIT_S)
    refused = _resume(cluster, checkout, run, "--cancel")
    assert refused.returncode == 1
    assert f"process {head.process.pid} on " in refused.stderr
    head.succeed()
    assert not (checkout.results.parent / run / ".head.lease").exists()
