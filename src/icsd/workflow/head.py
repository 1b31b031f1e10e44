"""The head of a run: the Snakemake process that submits its jobs. They outlive it; `icsd resume` continues the run."""

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

HEAD = "ICSD_HEAD"  # in the environment of jobs: the token of the head's lock
NETWORK_DELAY_S = 60.0  # until a network file system shows what another machine has written


def lock_path(results: Path) -> Path:
    """Return the path that the head of a run locks."""
    return results / "head"


def become_head(results: Path) -> None:
    """Make this process the head of the run until it ends; ClusterError while there is another one."""
    if owner := living_owner(lock_path(results)):
        raise ClusterError(f"{owner} runs {results} already: let it end, or stop it with Ctrl-C")
    lock = ExitStack()
    os.environ[HEAD] = lock.enter_context(locked(lock_path(results)))
    atexit.register(lock.close)


def living_head(results: Path) -> Process | None:
    """Return the living head of the run, if there is one."""
    return living_owner(lock_path(results))


def check_shared(results: Path, delay_s: float = NETWORK_DELAY_S) -> None:
    """Raise ClusterError in a job that does not share its head's folder, or whose head was replaced by another."""
    token = os.environ.get(HEAD)
    deadline = time.monotonic() + delay_s
    while token and ((seen := read_lock(lock_path(results))) is None or seen.token != token):
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
    """Return the name of a run's jobs in the queue."""
    return f"{run}{RUN_ENDS}{name}"


def count_and_ids(jobs: list[Job]) -> str:
    """Return text such as "3 jobs (11, 12, 13)"."""
    ids = ", ".join(job.id for job in jobs[:10]) + (", …" if len(jobs) > 10 else "")
    return f"{len(jobs)} job{'s' if len(jobs) > 1 else ''} ({ids})"


POLL_S = 10.0  # between two reads of the queue
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snakemake:
    """The snakemake command of a run, with `arguments` such as --configfile."""

    profile: str
    arguments: Sequence[str]

    def run(self, *more: str) -> int:
        """Run it with more arguments, and return its exit status."""
        command = [sys.executable, "-m", "snakemake", "--profile", self.profile, *self.arguments, *more]
        return subprocess.run(command, check=False).returncode


def resume(run: str, results: Path, snakemake: Snakemake, *, cancel: bool = False) -> int:
    """Wait for the run's jobs, or cancel them, then unlock and run Snakemake; return its exit status.

    All jobs leave the queue before the first new one is submitted, so that no shard has two. Finished work is not
    repeated. ClusterError while the run's head lives.
    """
    if owner := living_head(results):
        raise ClusterError(
            f"{owner} runs {results}, and sees to its jobs itself: there is nothing to resume. Ctrl-C there cancels "
            "them"
        )
    jobs = slurm.queued_jobs(run, Path.cwd())
    if jobs and cancel:
        _log.info("%s of an earlier snakemake are cancelled", count_and_ids(jobs))
        slurm.cancel(jobs)
    _wait_until_gone(run, jobs)
    if status := snakemake.run("--unlock"):
        return status
    return snakemake.run()


def _wait_until_gone(run: str, jobs: list[Job]) -> None:
    logged = ""
    while jobs:
        running = sum(job.state != "PENDING" for job in jobs)
        states = f"{running} running, {len(jobs) - running} queued"
        line = f"waiting for {count_and_ids(jobs)} of an earlier snakemake: {states}"
        if line != logged:
            _log.info("%s; --cancel would cancel them", line)
            logged = line
        time.sleep(POLL_S)
        jobs = slurm.queued_jobs(run, Path.cwd())
