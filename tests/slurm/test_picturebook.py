"""The picture book on the cluster: which jobs there were, what they asked for, and what came of it."""

import re
from collections import Counter
from collections.abc import Callable

import pytest
from accounting import Job, ended
from checkout import Checkout
from cluster import Cluster
from configuration import CPU_NODES, GPU_NODES
from head import Head
from same_tables import SINGLE_FILES, TABLES, assert_same

from icsd.core.ids import shard_names

SHARDED = ("embed_captions", "find_neighbors", "summarize_groups", "generate_images", "score_alignment", "check_safety")
ON_GPUS = {
    "embed_captions", "find_neighbors", "generate_images", "score_alignment", "check_safety", "train_captioner",
    "predict_captions",
}  # fmt: skip
LOCAL = {"collect_scores", "all"}
Run = tuple[Checkout, Head]


@pytest.fixture(scope="module")
def jobs(cluster: Cluster, on_cluster: Run) -> list[Job]:
    """The run's jobs in the accounting, after its end."""
    _, head = on_cluster
    head.succeed()
    return ended(cluster, head.run)


def _said(head: Head) -> dict[str, tuple[str, dict[str, str]]]:
    """Read rule and resources of each submitted job from Snakemake's output, by the job's id in SLURM."""
    block = r"^rule (\w+):\n(?:    .*\n)*?    jobid: (\d+)\n(?:    .*\n)*?    resources: (.*)$"
    submitted = re.findall(block, head.said, re.M)
    rules = {number: (rule, dict(re.findall(r"(\w+)=([^,]+)", resources))) for rule, number, resources in submitted}
    submitted = re.findall(r"^Job (\d+) has been submitted with SLURM jobid (\d+)", head.said, re.M)
    return {job: rules[number] for number, job in submitted}


def test_every_job_is_in_the_accounting_and_went_well_at_once(on_cluster: Run, jobs: list[Job]) -> None:
    _, head = on_cluster
    planned = re.search(r"^job +count\n[- ]+\n(.*?)\ntotal ", head.said, re.M | re.S)
    assert planned is not None
    counts = {rule: int(count) for rule, count in (line.split() for line in planned[1].splitlines())}
    assert Counter(job.rule for job in jobs) == {rule: count for rule, count in counts.items() if rule not in LOCAL}
    assert {job.state for job in jobs} == {"COMPLETED"}


def test_a_shard_is_a_job(on_cluster: Run, jobs: list[Job]) -> None:
    checkout, _ = on_cluster
    shards = shard_names(checkout.config["shards"])
    assert len(shards) >= 4
    for rule in SHARDED:
        assert {shard for job in jobs if job.rule == rule for shard in shards if shard in job.wildcards} == set(shards)


def test_a_job_asks_for_what_its_rule_says(on_cluster: Run, jobs: list[Job]) -> None:
    _, head = on_cluster
    said = _said(head)
    for job in jobs:
        rule, resources = said[job.id]
        assert job.rule == rule
        assert job.asked["mem"] in (f"{resources['mem_mb']}M", f"{int(resources['mem_mb']) / 1000:g}G")
        assert (job.minutes, job.gpus) == (int(resources["runtime"]), int(resources.get("gpu", 0))), rule
        assert (job.asked["node"], job.got["node"]) == ("1", "1")


def test_gpu_rules_have_a_gpu_of_the_gpu_partition_and_no_others(jobs: list[Job]) -> None:
    assert {job.rule for job in jobs if job.gpus} == ON_GPUS
    for job in jobs:
        assert (job.partition, job.gpus) == (("gpu", 1) if job.rule in ON_GPUS else ("cpu", 0)), job.rule
        assert job.node in (GPU_NODES if job.gpus else CPU_NODES)
        assert job.got.get("gres/gpu", "0") == str(job.gpus)


def test_jobs_run_beside_each_other(jobs: list[Job]) -> None:
    drawing = [job for job in jobs if job.rule == "generate_images"]
    assert max(job.started for job in drawing) < min(job.ended for job in drawing)


def test_what_was_asked_for_can_be_compared_with_what_was_used(on_cluster: Run, jobs: list[Job]) -> None:
    checkout, head = on_cluster
    (path,) = (checkout.folder / "results/slurm").glob(f"efficiency_report_*@{head.run}.csv")  # named as the jobs are
    table = path.read_text()
    assert "Memory Usage (%)" in table
    assert all(f",{job.id}.0," in table for job in jobs)


def test_tables_are_those_of_a_run_without_a_cluster(
    on_cluster: Run, local_run: Callable[[], Checkout], jobs: list[Job]
) -> None:
    checkout, _ = on_cluster
    for name in (*TABLES, *SINGLE_FILES):
        assert_same(checkout, local_run(), name)


def test_nothing_is_left_to_do_with_or_without_the_cluster(on_cluster: Run, jobs: list[Job]) -> None:
    """The cluster's profile changes no param, and keeps what profiles/default says of reruns."""
    checkout, _ = on_cluster
    script = checkout.folder / "scripts/embed_captions.py"
    script.write_text(script.read_text() + "\n# edited\n")
    for more in ([], ["--profile", "slurm"]):
        assert checkout.planned(*more) == {}
