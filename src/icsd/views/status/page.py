"""The status as people read it."""

from collections.abc import Mapping, Sequence

from icsd.core.text import markdown_table, truncated
from icsd.views.status.states import Cluster, StageStatus

HEAD = (
    "stage", "jobs", "done", "running", "queued", "failed", "items", "a second", "time left", "GPU hours", "estimated",
)  # fmt: skip
SHOWN_FAILURES = 5
REASON_CHARACTERS = 200
NOTES = """\
Jobs that are neither done nor in another column are not submitted yet. *A second*: items of one job. *Time left*: with
as many jobs at once as run now. *GPU hours*: of all attempts, by the accounting; beside them what `snakemake estimate`
says of the whole."""


def status_page(run: str, stages: Sequence[StageStatus], estimated: Mapping[str, float], cluster: Cluster) -> str:
    """A table of the stages, and the first of the jobs that have failed."""
    rows = [_row(stage, estimated.get(stage.name)) for stage in stages if stage.jobs]
    lines = [f"# How far the run {run} is", "", *markdown_table(HEAD, [*rows, _sum(stages, estimated)]), ""]
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
    if cluster.knows and cluster.accounted is None:
        return ["", "The cluster has no accounting: what jobs took is what they say of themselves."]
    return []


def _failures(stages: Sequence[StageStatus]) -> list[str]:
    failures = [failure for stage in stages for failure in stage.failures]
    if not failures:
        return []
    shown = [f"- {one.job.name}: {truncated(one.reason, REASON_CHARACTERS)}" for one in failures[:SHOWN_FAILURES]]
    more = [f"- and {len(failures) - SHOWN_FAILURES:,} more"] if len(failures) > SHOWN_FAILURES else []
    return ["", "Failed; each has its log, logs/<name>.log in the run's folder:", "", *shown, *more]


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _duration(seconds: float | None) -> str:
    """Such as 45 s, 12 min, 3.5 h or 2.1 days; a question mark where it is not known."""
    if seconds is None:
        return "?"
    for unit, name, digits in ((86_400, "days", 1), (3600, "h", 1), (60, "min", 0)):
        if seconds >= unit:
            return f"{seconds / unit:,.{digits}f} {name}"
    return f"{seconds:,.0f} s"
