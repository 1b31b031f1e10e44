"""To go on after the death of the Snakemake process that submitted jobs: they know nothing of it, and go on."""

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from icsd.cluster import slurm
from icsd.cluster.head import listed, living
from icsd.cluster.slurm import Job
from icsd.errors import ClusterError

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
