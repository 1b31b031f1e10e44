"""Status: how far a run is, by its tables, its logs, and the queue and accounting of SLURM where there is one.

stages     the jobs of each stage, with what each writes
states     of each job whether it is done, runs, waits or has failed, and what it took
page       the table that people read
"""

import logging
from pathlib import Path

from icsd.config import Config
from icsd.core.errors import ClusterError
from icsd.stages.summaries.prompts import load_prompt
from icsd.views.estimate.costs import costs
from icsd.views.estimate.counts import count
from icsd.views.status.page import status_page
from icsd.views.status.stages import stages
from icsd.views.status.states import Cluster, stage_status
from icsd.workflow import slurm

__all__ = ["run_status"]
_log = logging.getLogger(__name__)


def run_status(config: Config, prompt: Path, results: Path, checkout: Path) -> str:
    """The page. Nothing is written, and no job is disturbed; a cluster that does not answer is left out."""
    cluster = _cluster(config.run, checkout)
    found = [stage_status(name, jobs, results, checkout, cluster) for name, jobs in stages(config)]
    estimated = costs(count(config, load_prompt(prompt), results, rendered=False), config).gpu
    return status_page(config.run, found, {name: hours.total for name, hours in estimated.items()}, cluster)


def _cluster(run: str, checkout: Path) -> Cluster:
    """Empty for a run of this machine alone."""
    queued, accounted = list[slurm.Job](), None
    try:
        queued = slurm.queue(run, checkout) if slurm.has("squeue") else []
        accounted = slurm.accounted(run, checkout) if slurm.has("sacct") else None
    except ClusterError as error:
        _log.warning("without the accounting: %s", error)
    return Cluster(queued, accounted)
