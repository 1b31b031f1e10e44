"""The Snakemake that submitted jobs is interrupted or killed."""

import signal
from pathlib import Path

import pytest
from accounting import ended
from cluster import Cluster
from head import Head, MakeFolder, Submit


def _running(cluster: Cluster, head: Head) -> int:
    """Jobs of the run that are at work now."""
    return len(cluster.run("squeue", "-h", "--states=running", f"--name={head.run or 'none'}").split("\n")) - 1


def _start(cluster: Cluster, submit: Submit, folder: Path, seconds: int) -> Head:
    """Snakemake, as soon as its three jobs have begun."""
    head = submit(folder, "--config", f"seconds={seconds}")
    cluster.wait(lambda: _running(cluster, head) == 3 and len(list(folder.glob("*.times"))) == 3)
    return head


def test_sigint_cancels_what_was_submitted(cluster: Cluster, submit: Submit, folder_with: MakeFolder) -> None:
    head = _start(cluster, submit, folder_with("waiting"), seconds=300)
    head.signal(signal.SIGINT)
    cluster.wait(lambda: cluster.run("squeue", "-h", f"--name={head.run}") == "", seconds=30)
    assert head.wait() != 0
    assert [job.state for job in ended(cluster, head.run)] == ["CANCELLED"] * 3


@pytest.mark.parametrize("seconds", [300, 12])
def test_after_sigkill_no_job_is_done_by_two(
    cluster: Cluster, submit: Submit, folder_with: MakeFolder, seconds: int
) -> None:
    """Its jobs go on: those that take long are cancelled by the run's name, others are waited for."""
    folder = folder_with("waiting")
    head = _start(cluster, submit, folder, seconds)
    head.signal(signal.SIGKILL)
    head.wait()
    assert _running(cluster, head) == 3
    locked = submit(folder, "--config", "seconds=0")
    assert locked.wait() != 0
    assert "--unlock" in locked.said

    if seconds == 300:
        cluster.run("scancel", f"--name={head.run}")
    states = [job.state for job in ended(cluster, head.run)]
    assert states == ["CANCELLED" if seconds == 300 else "COMPLETED"] * 3
    submit(folder, "--unlock", "--config", "seconds=0").succeed()
    again = submit(folder, "--config", "seconds=0")
    again.succeed()
    for path in folder.glob("*.times"):
        said = [line.split()[0] for line in path.read_text().splitlines()]
        assert said == (["begin", "begin", "end"] if seconds == 300 else ["begin", "end"])
    assert len(list(folder.glob("[0-9].txt"))) == 3
