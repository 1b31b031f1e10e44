"""Of each job whether it is done, runs, waits or has failed, and what a stage took."""

import csv
import math
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.views.status.stages import StageJob
from icsd.workflow.slurm import Job

FAILED = ("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "CANCELLED", "PREEMPTED", "BOOT_FAIL", "DEADLINE")
TAIL_BYTES = 4096  # of a log
HOUR_S = 3600.0
_LEFT = re.compile(r": [\d,]+ of [\d,]+, [\d,.]+ a second, ([\d,]+) s left$")


@dataclass(frozen=True)
class Cluster:
    """The run's jobs in the queue, and its attempts in the accounting; None: there is no accounting."""

    queued: Sequence[Job] = ()
    accounted: Sequence[Job] | None = None

    @property
    def knows(self) -> bool:
        """Whether it has seen anything of the run."""
        return bool(self.queued or self.accounted)


@dataclass(frozen=True)
class Failure:
    """A job that has failed and is not tried again now: why, and where to read on."""

    job: StageJob
    reason: str


@dataclass(frozen=True)
class StageStatus:
    """A stage's jobs by state; items of those that are done, `seconds` of all attempts, seconds to its end.

    None is what is not known.
    """

    name: str
    jobs: int
    done: int
    running: int
    queued: int
    failures: list[Failure] = field(default_factory=list)
    items: int | None = None
    seconds: float = 0.0
    left_s: float | None = None
    gpu_hours: float | None = None


def stage_status(name: str, jobs: Sequence[StageJob], results: Path, checkout: Path, cluster: Cluster) -> StageStatus:
    """What is to be told of a stage. A table that an edited config makes anew counts as done until then."""
    waiting = {job.what for job in cluster.queued if job.state == "PENDING"}
    working = {job.what for job in cluster.queued if job.state != "PENDING"}
    done = [job for job in jobs if (results / job.output).exists()]
    left = [job for job in jobs if job not in done]
    running = [job for job in left if job.what in working or (not cluster.knows and _is_begun(job, results, checkout))]
    queued = [job for job in left if job.what in waiting and job not in running]
    idle = [job for job in left if job not in running and job not in queued]
    attempts: dict[str, list[Job]] = {job.what: [] for job in jobs}
    for attempt in cluster.accounted or ():
        attempts.setdefault(attempt.what, []).append(attempt)
    mine = [attempt for job in jobs for attempt in attempts[job.what]]
    took = [_seconds(job, results, attempts[job.what]) for job in done]
    return StageStatus(
        name=name,
        jobs=len(jobs),
        done=len(done),
        running=len(running),
        queued=len(queued),
        failures=[Failure(job, why) for job in idle if (why := _failure(job, results, attempts[job.what]))],
        items=_items(done, results),
        seconds=sum(took),
        left_s=_left_s(running, len(left), took, results),
        gpu_hours=sum(attempt.seconds * attempt.gpus for attempt in mine) / HOUR_S if mine else None,
    )


def _is_begun(job: StageJob, results: Path, checkout: Path) -> bool:
    """Whether a Snakemake of this machine works on it: that notes what is incomplete, and has the folder locked."""
    notes = checkout / ".snakemake"
    if not any(notes.glob("locks/*")):
        return False
    path = results / job.output
    name = urlsafe_b64encode(str(path.relative_to(checkout) if path.is_absolute() else path).encode()).decode()
    return (notes / "incomplete" / name).exists()


def _failure(job: StageJob, results: Path, attempts: Sequence[Job]) -> str:
    """Why the last attempt has failed; empty where it has not."""
    said = [line for line in _tail(results / "logs" / f"{job.name}.log") if " ERROR " in line]
    if attempts and attempts[-1].state in FAILED:
        return f"{attempts[-1].state} on {attempts[-1].node}" + (f", {_message(said[-1])}" if said else "")
    return _message(said[-1]) if said else ""


def _message(line: str) -> str:
    return line.partition(" ERROR ")[2]


def _seconds(job: StageJob, results: Path, attempts: Sequence[Job]) -> float:
    """What all attempts of a job took: by the accounting, else what its last one says itself."""
    if attempts:
        return sum(attempt.seconds for attempt in attempts)
    try:
        with (results / "benchmarks" / f"{job.name}.tsv").open(newline="") as file:
            return sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))
    except (FileNotFoundError, KeyError, ValueError):  # a rule without one, or a job just begun
        return 0.0


def _items(done: Sequence[StageJob], results: Path) -> int | None:
    """The rows of the tables that are there; None where they are no items."""
    counted = [job for job in done if job.table]
    return sum(_rows(results / job.output, job.table) for job in counted if job.table) if counted else None


def _rows(path: Path, table: tables.Table) -> int:
    try:
        return tables.count(path, table)
    except InputError:  # snakemake makes it anew
        return 0


def _left_s(running: Sequence[StageJob], left: int, took: Sequence[float], results: Path) -> float | None:
    """What the jobs that run still need by their logs, and the others a mean job each, as many at once as run now."""
    if not left:
        return 0.0
    told = [_told_left(results / "logs" / f"{job.name}.log") for job in running]
    known = [seconds for seconds in told if seconds is not None]
    mean = sum(took) / len(took) if any(took) else None
    rounds = math.ceil((left - len(running)) / max(1, len(running)))
    if rounds and mean is None:
        return None
    if running and not known and mean is None:
        return None
    return max(known, default=(mean or 0.0) if running else 0.0) + rounds * (mean or 0.0)


def _told_left(log: Path) -> float | None:
    found = [match for line in _tail(log) if (match := _LEFT.search(line))]
    return float(found[-1][1].replace(",", "")) if found else None


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
