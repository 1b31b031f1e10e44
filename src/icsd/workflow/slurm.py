"""SLURM's commands, and their output as values."""

import getpass
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from icsd.core.errors import ClusterError

TIMEOUT_S = 120.0  # a busy controller answers late
RUN_ENDS = "@"  # in a job's name, after the run's name, which cannot contain it
UNREACHED = "0:53"  # the exit code of a job whose node lacks its working folder or log folder
ACCOUNTED = "JobName,State,ExitCode,ElapsedRaw,AllocTRES,NodeList,WorkDir,SubmitLine"
_LIMIT = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_COMMENT = re.compile(r"--comment[ =](\S+)")


@dataclass(frozen=True)
class Job:
    """A job, or one attempt of it. `what` is its rule with its wildcards, from the executor's comment.

    Only the accounting has `seconds`, `gpus`, `exit_code` and `node`.
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

    def belongs_to(self, run: str, folder: Path) -> bool:
        """Return whether the job was submitted for that run in that folder."""
        return self.name.startswith(f"{run}{RUN_ENDS}") and self.folder == folder


@dataclass(frozen=True)
class Partition:
    """A partition and its time limit in minutes; None for no limit."""

    name: str
    minutes: float | None = field(default=None)


def is_installed(command: str) -> bool:
    """Return whether a command is on PATH."""
    return shutil.which(command) is not None


def queued_jobs(run: str, folder: Path) -> list[Job]:
    """Return the waiting and running jobs of a run that were submitted in `folder`."""
    rows = _rows(["squeue", "--me", "--noheader", "--format=%i|%j|%T|%k|%Z"], columns=5)
    jobs = [Job(id_, name, state, what, Path(path)) for id_, name, state, what, path in rows]
    return [job for job in jobs if job.belongs_to(run, folder)]


def accounted_jobs(run: str, folder: Path, days: int = 30) -> list[Job]:
    """Return the attempts of the run's jobs in the accounting, oldest first; ClusterError without accounting."""
    command = ["sacct", "--allocations", "--noheader", "--parsable2", "--duplicates", f"--starttime=now-{days}days"]
    rows = _rows([*command, f"--format=JobID,{ACCOUNTED}"], columns=9)
    return [job for job in map(_accounted, rows) if job.belongs_to(run, folder)]


def partitions() -> dict[str, Partition]:
    """Return the cluster's partitions by name."""
    rows = _rows(["sinfo", "--noheader", "--format=%R|%l"], columns=2, hint=f"; {WHERE}")
    return {name: Partition(name, minutes(limit)) for name, limit in rows}


def accounts() -> set[str]:
    """Return the accounts of this user in lower case; empty where the cluster does not list them."""
    try:
        rows = _rows(["sacctmgr", "-nPs", "list", "user", getpass.getuser(), "format=account"], columns=1)
    except ClusterError:
        return set()
    return {name.lower() for (name,) in rows if name}


def cancel(jobs: Sequence[Job]) -> None:
    """Cancel jobs."""
    if jobs:
        _output(["scancel", *(job.id for job in jobs)])


def minutes(limit: str) -> float | None:
    """Return the minutes of a limit in SLURM's format, such as 1-12:00:00, 30:00 or 90; None for no limit."""
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
    """Parse text such as `cpu=1,mem=4000M,gres/gpu=1`."""
    return dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair)


def _rows(command: Sequence[str], columns: int, hint: str = "") -> list[list[str]]:
    """Return the output's lines, split at each |; the last column may contain one."""
    lines = _output(command, hint).splitlines()
    return [row for line in lines if len(row := line.split("|", columns - 1)) == columns]


def _output(command: Sequence[str], hint: str = "") -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise ClusterError(f"{command[0]} is not on PATH: {WHERE}") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{shlex.join(command)} has not answered in {TIMEOUT_S:.0f} s: try again later") from None
    if done.returncode:
        message = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[0]
        raise ClusterError(f"{shlex.join(command)} failed: {message}{hint}")
    return done.stdout


WHERE = (
    "run snakemake on a login node of a SLURM cluster, after loading its module where it has one (module load slurm), "
    "or without --profile slurm on this machine"
)
