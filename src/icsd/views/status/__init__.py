"""Status: how far a run is, by its tables and logs, and by the queue and the accounting of SLURM if there is one.

jobs     the jobs of each stage, and the state of each
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from icsd.config import Config
from icsd.core.errors import ClusterError
from icsd.core.text import markdown_table, truncated
from icsd.views.options import Commands, add_config, read_config
from icsd.views.run import configured_run
from icsd.views.status.jobs import Cluster, StageStatus, stage_status, stages
from icsd.workflow import slurm

__all__ = ["add_status", "run_status", "status_page"]

HEADER = (
    "stage", "jobs", "done", "running", "queued", "failed", "items", "a second", "time left", "GPU hours", "estimated",
)  # fmt: skip
SHOWN_FAILURES = 5
REASON_CHARACTERS = 200
NOTES = """\
A job in no column but the first is not submitted yet. *A second*: items of one job. *Time left*: with as many jobs at
once as run now. *GPU hours*: of all attempts, by the accounting. *Estimated*: the GPU hours of the whole run, by
`snakemake estimate`."""


_log = logging.getLogger(__name__)


def add_status(commands: Commands) -> None:
    """Add `icsd status`."""
    command = commands.add_parser(
        "status",
        help="show how far a run is",
        description="Show how far a run is. For each stage: jobs that are done, running, queued and failed, items a "
        "second, time left, and GPU hours beside the estimate. Type it where the Snakefile is.",
    )
    add_config(command)
    command.set_defaults(run=_command)


def _command(options: argparse.Namespace) -> str:
    logging.basicConfig(level=logging.WARNING, format="icsd: %(message)s")
    config = read_config(options.configfile, options.config)
    return run_status(config, Path(f"config/prompts/{config.summaries.prompt}.txt"), Path.cwd())


def run_status(config: Config, prompt: Path, checkout: Path, results: Path | None = None) -> str:
    """The status of a run as a page. Nothing is written, and no job is disturbed.

    A cluster that does not answer is left out.
    """
    from icsd.views.estimate import estimated_costs  # late: the other commands need nothing of it

    run, cluster = configured_run(config, results), _cluster(config.run, checkout)
    found = [stage_status(name, jobs, run, checkout, cluster) for name, jobs in stages(run, config)]
    estimated = estimated_costs(config, prompt, run, rendered=False).gpu
    return status_page(config.run, found, {name: hours.total for name, hours in estimated.items()}, cluster)


def _cluster(run: str, checkout: Path) -> Cluster:
    """The run's jobs on the cluster; none for a run of this machine alone."""
    queued, accounted = list[slurm.Job](), None
    try:
        queued = slurm.queued_jobs(run, checkout) if slurm.is_installed("squeue") else []
        accounted = slurm.accounted_jobs(run, checkout) if slurm.is_installed("sacct") else None
    except ClusterError as error:
        _log.warning("without the accounting: %s", error)
    return Cluster(queued, accounted)


# --- The page ---------------------------------------------------------------------------------------------------------


def status_page(run: str, stages: Sequence[StageStatus], estimated: Mapping[str, float], cluster: Cluster) -> str:
    """Markdown: a table of the stages, and the first of the jobs that have failed."""
    rows = [_row(stage, estimated.get(stage.name)) for stage in stages if stage.jobs]
    lines = [f"# Status of the run {run}", "", *markdown_table(HEADER, [*rows, _sum(stages, estimated)]), ""]
    return "\n".join([*lines, NOTES, *_source(cluster), *_failures(stages)])


def _row(stage: StageStatus, estimated: float | None) -> list[str]:
    counts = [stage.jobs, stage.done, stage.running, stage.queued, len(stage.failures)]
    rate = stage.items / stage.seconds if stage.items and stage.seconds else None
    return [
        stage.name,
        *(f"{number:,}" for number in counts),
        _shown(stage.items, 0),
        _shown(rate, 1),
        "" if stage.left_s == 0 else _duration(stage.left_s),
        _shown(stage.gpu_hours, 2),
        _shown(estimated, 2),
    ]


def _sum(stages: Sequence[StageStatus], estimated: Mapping[str, float]) -> list[str]:
    counts = [[stage.jobs, stage.done, stage.running, stage.queued, len(stage.failures)] for stage in stages]
    hours = [stage.gpu_hours for stage in stages if stage.gpu_hours is not None]
    totals = [f"{sum(column):,}" for column in zip(*counts, strict=True)]
    return ["all", *totals, "", "", "", _shown(sum(hours) if hours else None, 2), _shown(sum(estimated.values()), 2)]


def _source(cluster: Cluster) -> list[str]:
    if cluster.has_jobs and cluster.accounted is None:
        return ["", "The cluster has no accounting: times are those of the jobs' benchmark files."]
    return []


def _failures(stages: Sequence[StageStatus]) -> list[str]:
    failures = [failure for stage in stages for failure in stage.failures]
    if not failures:
        return []
    shown = [f"- {one.job.name}: {truncated(one.reason, REASON_CHARACTERS)}" for one in failures[:SHOWN_FAILURES]]
    more = [f"- and {len(failures) - SHOWN_FAILURES:,} more"] if len(failures) > SHOWN_FAILURES else []
    return ["", "Failed jobs; the log of each is logs/<name>.log in the run's folder:", "", *shown, *more]


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _duration(seconds: float | None) -> str:
    """A duration such as 45 s, 12 min, 3.5 h or 2.1 days; a question mark if it is not known."""
    if seconds is None:
        return "?"
    for unit, name, digits in ((86_400, "days", 1), (3600, "h", 1), (60, "min", 0)):
        if seconds >= unit:
            return f"{seconds / unit:,.{digits}f} {name}"
    return f"{seconds:,.0f} s"
