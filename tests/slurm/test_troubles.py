"""Jobs that die at their first attempt: the run ends right, and the accounting has every attempt."""

import pytest
from accounting import Job, ended, steps
from cluster import Cluster
from configuration import SPARE_NODES
from head import Head

TROUBLES = ("memory", "time", "cancelled", "node", "preempted")


def _attempts(cluster: Cluster, head: Head, rule: str) -> list[Job]:
    return [job for job in ended(cluster, head.run) if job.rule == rule]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_run_ends_right(troubled: Head, trouble: str) -> None:
    troubled.succeed()
    assert (troubled.log.parent / f"{trouble}.txt").read_text() == "done\n"


def test_a_job_over_its_memory_is_killed_and_gets_more(cluster: Cluster, troubled: Head) -> None:
    troubled.succeed()
    died, right = _attempts(cluster, troubled, "memory")
    assert (died.state, right.state) in (("FAILED", "COMPLETED"), ("OUT_OF_MEMORY", "COMPLETED"))
    assert (died.asked["mem"], right.asked["mem"]) == ("500M", "1000M")
    assert died.minutes == right.minutes
    assert any(step.state in ("CANCELLED", "OUT_OF_MEMORY") for step in steps(cluster, died))


def test_a_job_over_its_time_is_killed_and_started_again(cluster: Cluster, troubled: Head) -> None:
    troubled.succeed()
    died, right = _attempts(cluster, troubled, "time")
    assert (died.state, died.minutes, right.state, right.minutes) == ("TIMEOUT", 1, "COMPLETED", 2)
    assert died.asked["mem"] == right.asked["mem"]


def test_a_job_that_somebody_cancels_is_started_again(cluster: Cluster, troubled: Head) -> None:
    """The queue is queried, since Snakemake would wait forever with the accounting."""
    troubled.succeed()
    died, right = _attempts(cluster, troubled, "cancelled")
    assert (died.state, right.state) == ("CANCELLED", "COMPLETED")
    assert (died.asked["mem"], died.minutes) == (right.asked["mem"], right.minutes)


def test_a_job_whose_node_dies_is_started_again_on_another(cluster: Cluster, troubled: Head) -> None:
    troubled.succeed()
    died, right = _attempts(cluster, troubled, "node")
    assert (died.state, right.state) == ("NODE_FAIL", "COMPLETED")
    assert {died.node, right.node} == set(SPARE_NODES)


def test_a_preempted_job_is_started_again(cluster: Cluster, troubled: Head) -> None:
    troubled.succeed()
    made_room, right = _attempts(cluster, troubled, "preempted")
    assert (made_room.state, right.state) == ("PREEMPTED", "COMPLETED")
