"""The picture book's groups through another executor, cluster-generic, by the commands of its profile."""

import re
from pathlib import Path

from checkout import OVERLAY, Config
from cluster import Cluster
from conftest import check_out
from head import Submit

from icsd.core import tables

PROFILE = "profiles/cluster-generic"
QUICK = ("--seconds-between-status-checks", "1", "--latency-wait", "20")
SUBMITTED = re.compile(r"^Submitted job \d+ with external jobid '(\d+)'", re.MULTILINE)


def test_groups_are_formed_by_a_submit_command_and_a_cancelled_job_is_submitted_again(
    cluster: Cluster, submit: Submit, overlay: Config, tmp_path: Path
) -> None:
    config = overlay | {"run": "generic", "shards": 2}
    checkout = check_out(tmp_path / "icsd", config)
    groups = checkout.results / "groups/all.parquet"
    target = str(groups.relative_to(checkout.folder))
    head = submit(checkout.folder, target, "--configfile", OVERLAY, profile=PROFILE, quick=QUICK)
    cluster.wait(lambda: SUBMITTED.search(head.said) is not None)
    first = SUBMITTED.findall(head.said)[0]
    cluster.run("scancel", first)
    head.succeed()
    jobs = SUBMITTED.findall(head.said)
    states = dict(line.split("|") for line in _accounted(cluster, jobs))
    assert states.pop(first).startswith("CANCELLED")
    assert set(states.values()) == {"COMPLETED"}
    assert "Trying to restart job" in head.said
    # one more than the plan has: what was cancelled; embeddings and neighbours have a job a shard, on a GPU
    assert len(jobs) == 1 + 7
    assert _gpus(cluster, jobs) == 4
    assert tables.read(groups, tables.GROUPS).num_rows > 0
    assert checkout.planned(target) == {}


def _accounted(cluster: Cluster, jobs: list[str]) -> list[str]:
    command = ["sacct", "-nXP", "-o", "JobID,State", "-j", ",".join(jobs)]
    cluster.wait(lambda: "RUNNING" not in cluster.run(*command))
    return cluster.run(*command).splitlines()


def _gpus(cluster: Cluster, jobs: list[str]) -> int:
    """The number of jobs that had a GPU."""
    return cluster.run("sacct", "-nXP", "-o", "AllocTRES", "-j", ",".join(jobs)).count("gres/gpu=1")
