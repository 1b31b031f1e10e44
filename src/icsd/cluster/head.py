"""The head: the Snakemake process that submits jobs. One a run, by a lease that its jobs can tell from another's."""

import atexit
import os
import time
from contextlib import ExitStack
from pathlib import Path

from icsd.cluster.slurm import RUN_ENDS, Job
from icsd.errors import ClusterError
from icsd.holders import Holder
from icsd.lease import lease, living_holder, look

HEAD = "ICSD_HEAD"  # the lease's word, in the environment of jobs
LATE_S = 60.0  # after which a network file system shows what another machine has written


def lease_of(results: Path) -> Path:
    """What the head of the run in that folder has the lease of."""
    return results / "head"


def take_lead(results: Path) -> None:
    """Be the run's head until this process ends; ClusterError while another is."""
    if holder := living_holder(lease_of(results)):
        raise ClusterError(f"{holder} runs {results} already: let it end, or stop it with Ctrl-C")
    held = ExitStack()
    os.environ[HEAD] = held.enter_context(lease(lease_of(results)))
    atexit.register(held.close)


def living(results: Path) -> Holder | None:
    """The run's head; None where there is none, or it is dead."""
    return living_holder(lease_of(results))


def check_shared(results: Path, late_s: float = LATE_S) -> None:
    """ClusterError in a job that sees another folder than its head does, or that a dead head has left behind."""
    token = os.environ.get(HEAD)
    deadline = time.monotonic() + late_s
    while token and ((seen := look(lease_of(results))) is None or seen.token != token):
        if time.monotonic() < deadline:
            time.sleep(1.0)
        elif seen:
            raise ClusterError(f"{seen.holder} has taken over {results}: this job is of an earlier one, and stops")
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
