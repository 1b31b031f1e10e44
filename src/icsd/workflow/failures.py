"""What a rule's jobs died of, as SLURM tells it: in the logs that Snakemake's executor keeps, or when asked."""

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
PATIENCE_S = 30


class Death(Enum):
    """What more would have helped against, by the state that SLURM gives the job."""

    MEMORY = "OUT_OF_MEMORY"
    TIME = "TIMEOUT"


# slurmstepd's words, and srun's. Of memory with cgroups: "Detected 1 oom_kill event in StepId=7.0" and "task 0: Out Of
# Memory"; with OverMemoryKill: "StepId=7.0 exceeded memory limit (512 > 400), being killed". Of time:
# "JOB 7 ON c1 CANCELLED AT ... DUE TO TIME LIMIT". Only lines that are theirs: a log may hold captions too.
_THEIRS = r"^(slurmstepd(-\S+)?|srun): .*"
_SIGNS = {
    Death.MEMORY: re.compile(_THEIRS + r"(oom[-_ ]kill|exceeded (job )?memory limit|out of memory)", re.I),
    Death.TIME: re.compile(_THEIRS + r"due to time limit", re.I),
}


def deaths(rule: str, wildcards: Sequence[str], attempt: int, run: str | None = None) -> list[Death]:
    """What the `run`'s jobs of the attempts before this one died of, where it was one of these.

    Not of a plain error, scancel, preemption or a node that went down: those say nothing about memory or time.
    """
    place = Path(f"rule_{rule}", "_".join(wildcards).replace("/", "_"))
    folders = LOGS.glob(f"{run}{RUN_ENDS}*") if run else [LOGS]
    found = [log for folder in folders for log in (folder / place).glob("*.log")]
    jobs = sorted((log for log in found if log.stem.isdecimal()), key=lambda log: int(log.stem))
    tried = jobs[max(0, len(jobs) - (attempt - 1)) :]
    causes = [death_in(log.read_text(errors="replace")) or _state(log.stem) for log in tried]
    return [death for death in causes if death]


def death_in(text: str) -> Death | None:
    """What a job died of by its log; None where that says nothing."""
    lines = text.splitlines()
    return next((death for death, sign in _SIGNS.items() if any(map(sign.search, lines))), None)


@cache
def _state(job: str) -> Death | None:
    """The same of what SLURM remembers for some minutes: a log on a slow file system may be silent yet."""
    squeue = shutil.which("squeue")
    if squeue is None:
        return None
    command = [squeue, "--noheader", "--states=all", "--format=%T", f"--jobs={job}"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False).stdout.split()
    except subprocess.TimeoutExpired:
        return None
    return next((death for death in Death if death.value in said), None)
