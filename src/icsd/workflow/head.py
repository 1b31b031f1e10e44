"""To go on after the death of the Snakemake process that submitted jobs: they know nothing of it, and go on."""

import atexit
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from icsd.core.errors import ClusterError
from icsd.core.lock import Process, living_owner, locked, read_lock
from icsd.workflow import slurm
from icsd.workflow.slurm import RUN_ENDS, Job

HEAD = "ICSD_HEAD"  # the lease's word, in the environment of jobs
LATE_S = 60.0  # after which a network file system shows what another machine has written


def lease_of(results: Path) -> Path:
    """What the head of the run in that folder has the lease of."""
    return results / "head"


def take_lead(results: Path) -> None:
    """Be the run's head until this process ends; ClusterError while another is."""
    if holder := living_owner(lease_of(results)):
        raise ClusterError(f"{holder} runs {results} already: let it end, or stop it with Ctrl-C")
    held = ExitStack()
    os.environ[HEAD] = held.enter_context(locked(lease_of(results)))
    atexit.register(held.close)


def living(results: Path) -> Process | None:
    """The run's head; None where there is none, or it is dead."""
    return living_owner(lease_of(results))


def check_shared(results: Path, late_s: float = LATE_S) -> None:
    """ClusterError in a job that sees another folder than its head does, or that a dead head has left behind."""
    token = os.environ.get(HEAD)
    deadline = time.monotonic() + late_s
    while token and ((seen := read_lock(lease_of(results))) is None or seen.token != token):
        if time.monotonic() < deadline:
            time.sleep(1.0)
        elif seen:
            raise ClusterError(f"{seen.owner} has taken over {results}: this job is of an earlier one, and stops")
        else:
            node = os.environ.get("SLURMD_NODENAME", os.uname().nodename)
            raise ClusterError(
                f"the node {node} does not see {results.resolve()} as the machine does where snakemake runs: put the "
                "checkout on a file system that all have, or results alone (ln -s /scratch/you/results results)"
            )


def job_name(run: str, name: str) -> str:
    """The name that a run's jobs have in the queue."""
    return f"{run}{RUN_ENDS}{name}"


def listed(jobs: list[Job]) -> str:
    """Such as "3 jobs (11, 12, 13)"."""
    ids = ", ".join(job.id for job in jobs[:10]) + (", …" if len(jobs) > 10 else "")
    return f"{len(jobs)} job{'s' if len(jobs) > 1 else ''} ({ids})"


LOOK_S = 10.0  # between two looks into the queue
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snakemake:
    """Snakemake as it is typed for this run, with `arguments` such as --configfile."""

    profile: str
    arguments: Sequence[str]

    def run(self, *more: str) -> int:
        """Its exit status."""
        command = [sys.executable, "-m", "snakemake", "--profile", self.profile, *self.arguments, *more]
        return subprocess.run(command, check=False).returncode


def resume(run: str, results: Path, snakemake: Snakemake, *, cancel: bool = False) -> int:
    """Wait for the run's jobs, or cancel them, then unlock and run Snakemake; its exit status.

    Every job in the queue is gone before the first is submitted, so that no shard has two. What those that are waited
    for have finished is not done again. ClusterError while the run's own Snakemake lives.
    """
    if holder := living(results):
        raise ClusterError(
            f"{holder} runs {results}, and sees to its jobs itself: there is nothing to resume. Ctrl-C there cancels "
            "them"
        )
    jobs = slurm.queue(run, Path.cwd())
    if jobs and cancel:
        _log.info("%s of an earlier snakemake are cancelled", listed(jobs))
        slurm.cancel(jobs)
    _wait_until_gone(run, jobs)
    if status := snakemake.run("--unlock"):
        return status
    return snakemake.run()


def _wait_until_gone(run: str, jobs: list[Job]) -> None:
    told = ""
    while jobs:
        running = sum(job.state != "PENDING" for job in jobs)
        line = f"waiting for {listed(jobs)} of an earlier snakemake: {running} running, {len(jobs) - running} queued"
        if line != told:
            _log.info("%s; --cancel would cancel them", line)
            told = line
        time.sleep(LOOK_S)
        jobs = slurm.queue(run, Path.cwd())
