"""The causes of failed jobs, from the logs that Snakemake's executor keeps, or from squeue."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from enum import Enum
from functools import cache
from pathlib import Path

from icsd.workflow.slurm import RUN_ENDS

# where snakemake-executor-plugin-slurm puts them: rule_<rule>/<wildcards>/<job>.log, and those of a run's jobs in a
# folder of their name, which icsd.workflow.start gives them
LOGS = Path(".snakemake/slurm_logs")
TIMEOUT_S = 30


class FailureCause(Enum):
    """A shortage that a larger request would have prevented, by the state that SLURM gives the job."""

    MEMORY = "OUT_OF_MEMORY"
    TIME = "TIMEOUT"


# messages of slurmstepd and srun. Memory, with cgroups: "Detected 1 oom_kill event in StepId=7.0" and "task 0: Out Of
# Memory"; with OverMemoryKill: "StepId=7.0 exceeded memory limit (512 > 400), being killed". Time:
# "JOB 7 ON c1 CANCELLED AT ... DUE TO TIME LIMIT". Other lines do not count: a log may hold captions.
_SLURM_LINE = r"^(slurmstepd(-\S+)?|srun): .*"
_SIGNS = {
    FailureCause.MEMORY: re.compile(_SLURM_LINE + r"(oom[-_ ]kill|exceeded (job )?memory limit|out of memory)", re.I),
    FailureCause.TIME: re.compile(_SLURM_LINE + r"due to time limit", re.I),
}


def failure_causes(rule: str, wildcards: Sequence[str], attempt: int, run: str | None = None) -> list[FailureCause]:
    """Return the causes of the failed attempts before this one, in jobs of the `run`.

    A plain error, scancel, preemption or a failed node is no cause: it shows nothing about memory or time.
    """
    folder_name = Path(f"rule_{rule}", "_".join(wildcards).replace("/", "_"))
    folders = LOGS.glob(f"{run}{RUN_ENDS}*") if run else [LOGS]
    found = [log for folder in folders for log in (folder / folder_name).glob("*.log")]
    jobs = sorted((log for log in found if log.stem.isdecimal()), key=lambda log: int(log.stem))
    tried = jobs[max(0, len(jobs) - (attempt - 1)) :]
    causes = [failure_cause_in(log.read_text(errors="replace")) or _cause_from_squeue(log.stem) for log in tried]
    return [cause for cause in causes if cause]


def failure_cause_in(text: str) -> FailureCause | None:
    """Return the cause that a job's log names; None without one."""
    lines = text.splitlines()
    return next((cause for cause, sign in _SIGNS.items() if any(map(sign.search, lines))), None)


@cache
def _cause_from_squeue(job: str) -> FailureCause | None:
    """Return the cause that SLURM remembers for some minutes: on a slow file system the log may not show it yet."""
    squeue = shutil.which("squeue")
    if squeue is None:
        return None
    command = [squeue, "--noheader", "--states=all", "--format=%T", f"--jobs={job}"]
    try:
        states = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False).stdout.split()
    except subprocess.TimeoutExpired:
        return None
    return next((cause for cause in FailureCause if cause.value in states), None)
