"""SLURM's commands, and what they print as values."""

import getpass
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from icsd.core.errors import ClusterError

PATIENCE_S = 120.0  # a controller with much to do takes its time
RUN_ENDS = "@"  # in a job's name, after the run's, which cannot have it
UNREACHED = "0:53"  # a job that could not begin: its node does not have the folder to work in or to log to
ACCOUNTED = "JobName,State,ExitCode,ElapsedRaw,AllocTRES,NodeList,WorkDir,SubmitLine"
_LIMIT = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_COMMENT = re.compile(r"--comment[ =](\S+)")


@dataclass(frozen=True)
class Job:
    """A job, or one attempt of it. `what` is its rule, with its wildcards, as the executor puts it into the comment.

    `seconds` that it has run, on `gpus`; the last three are known of the accounting alone.
    """

    id: str
    name: str
    state: str
    what: str
    folder: Path
    seconds: float = 0.0
    gpus: int = 0
    exit_code: str = ""
    node: str = ""

    def is_of(self, run: str, folder: Path) -> bool:
        """Whether it was submitted for that run in that folder."""
        return self.name.startswith(f"{run}{RUN_ENDS}") and self.folder == folder


@dataclass(frozen=True)
class Partition:
    """A partition and the minutes that a job may take there; None: as long as it likes."""

    name: str
    minutes: float | None = field(default=None)


def has(command: str) -> bool:
    """Whether a command is on PATH."""
    return shutil.which(command) is not None


def queue(run: str, folder: Path) -> list[Job]:
    """The run's jobs that wait or run, submitted in `folder`."""
    rows = _rows(["squeue", "--me", "--noheader", "--format=%i|%j|%T|%k|%Z"], columns=5)
    jobs = [Job(id_, name, state, what, Path(place)) for id_, name, state, what, place in rows]
    return [job for job in jobs if job.is_of(run, folder)]


def accounted(run: str, folder: Path, days: int = 30) -> list[Job]:
    """The attempts of the run's jobs that the accounting knows, the oldest first; ClusterError where there is none."""
    command = ["sacct", "--allocations", "--noheader", "--parsable2", "--duplicates", f"--starttime=now-{days}days"]
    rows = _rows([*command, f"--format=JobID,{ACCOUNTED}"], columns=9)
    return [job for job in map(_accounted, rows) if job.is_of(run, folder)]


def partitions() -> dict[str, Partition]:
    """The cluster's partitions by name."""
    rows = _rows(["sinfo", "--noheader", "--format=%R|%l"], columns=2)
    return {name: Partition(name, minutes(limit)) for name, limit in rows}


def accounts() -> set[str]:
    """The accounts that this user may name, in small letters; empty where the cluster does not tell."""
    try:
        rows = _rows(["sacctmgr", "-nPs", "list", "user", getpass.getuser(), "format=account"], columns=1)
    except ClusterError:
        return set()
    return {name.lower() for (name,) in rows if name}


def cancel(jobs: Sequence[Job]) -> None:
    """Cancel jobs."""
    if jobs:
        _said(["scancel", *(job.id for job in jobs)])


def minutes(limit: str) -> float | None:
    """A time as SLURM writes it, such as 1-12:00:00, 30:00 or 90; None for one without an end."""
    found = _LIMIT.fullmatch(limit.strip())
    if not found:
        return None
    days, *rest = found.groups()
    parts = [float(part) for part in rest if part is not None]
    if days is not None:  # days-hours, days-hours:minutes, days-hours:minutes:seconds
        hours, mins, seconds = (*parts, 0.0, 0.0)[:3]
        return float(days) * 1440 + hours * 60 + mins + seconds / 60
    if len(parts) == 3:
        return parts[0] * 60 + parts[1] + parts[2] / 60
    return parts[0] + (parts[1] / 60 if len(parts) == 2 else 0.0)


def _accounted(row: Sequence[str]) -> Job:
    id_, name, state, exit_code, seconds, resources, node, folder, line = row
    comment = _COMMENT.search(line)
    gpus = int(_resources(resources).get("gres/gpu", 0))
    return Job(
        id=id_, name=name, state=state.split(" ")[0], what=comment[1] if comment else "", folder=Path(folder),
        seconds=float(seconds or 0), gpus=gpus, exit_code=exit_code, node=node,
    )  # fmt: skip


def _resources(text: str) -> Mapping[str, str]:
    """`cpu=1,mem=4000M,gres/gpu=1` as a mapping."""
    return dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair)


def _rows(command: Sequence[str], columns: int) -> list[list[str]]:
    """The lines that it prints, cut at each |; the last column may have one itself."""
    lines = _said(command).splitlines()
    return [row for line in lines if len(row := line.split("|", columns - 1)) == columns]


def _said(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except FileNotFoundError:
        raise ClusterError(f"{command[0]} is not on PATH: {WHERE}") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{shlex.join(command)} has not answered in {PATIENCE_S:.0f} s: try again later") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[0]
        raise ClusterError(f"{shlex.join(command)} failed: {said}")
    return done.stdout


WHERE = (
    "run snakemake on a login node of a SLURM cluster, after loading its module where it has one (module load slurm), "
    "or without --profile slurm on this machine"
)
