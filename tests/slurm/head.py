"""Snakemake on the login node of a cluster: started beside other things, signalled, waited for."""

import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from checkout import SNAKEMAKE, offline
from cluster import Cluster
from processes import DYING_WITH_US, INTERRUPTIBLE

LIMIT_S = 1_200
# two looks a second, for jobs of seconds
QUICK = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "20")


@dataclass
class Head:
    """A Snakemake that submits jobs; what it says goes to a file in its folder."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """All that it has said until now."""
        return self.log.read_text()

    @property
    def run(self) -> str:
        """The name that its jobs have in the queue; empty until it has said it."""
        found = re.search(r"SLURM run ID: (\S+)", self.said)
        return found[1] if found else ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        self.process.send_signal(number)

    def wait(self, seconds: float = LIMIT_S) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(seconds)

    def succeed(self) -> None:
        """Wait for it; it must have done all."""
        assert self.wait() == 0, self.said[-6000:]


def start(
    cluster: Cluster, folder: Path, *arguments: str, profile: str = "slurm", quick: Sequence[str] = QUICK
) -> Head:
    """`snakemake --profile slurm ARGUMENTS`, typed in a folder; it ends when the tests do."""
    number = len(list(folder.glob("head-*.log")))
    log = folder / f"head-{number}.log"
    command = [*INTERRUPTIBLE, *DYING_WITH_US, SNAKEMAKE, "--profile", profile, *quick, *arguments]
    with log.open("wb") as said:
        said.write(f"$ {shlex.join(command)}\n".encode())
        said.flush()
        process = subprocess.Popen(
            command, cwd=folder, env=offline(cluster.environment), stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
    return Head(process, log)


Submit = Callable[..., Head]  # start, with the cluster known
MakeFolder = Callable[[str], Path]  # of the name of a Snakefile that lies here
