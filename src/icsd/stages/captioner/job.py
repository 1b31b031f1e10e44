"""One training as the rule asks for it, done in this process or in several that torchrun starts."""

import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from icsd.config import Captioner as Settings
from icsd.core import files
from icsd.core.errors import ConfigError
from icsd.stages.captioner.model import Search
from icsd.stages.captioner.processes import choose_device

JOB, PICTURES, VAL_PICTURES = "job.json", "pictures.npy", "val_pictures.npy"  # beside the state, as long as it is there
# torchrun hands these on to its processes, and waits for them: a step, a validation and a state take their time
SIGNALS, SHUTDOWN_S = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1", 120
FIRST_PORT, PORTS = 20_000, 20_000  # where the processes of several nodes meet: a port by the job's number


@dataclass(frozen=True)
class Files:
    """What one training reads and writes."""

    pairs: str
    images: list[str]
    val_images: str
    val_captions: str
    checkpoint: str
    history: str
    log: str

    @property
    def resume(self) -> Path:
        """The folder of the unfinished training's state: no output, as Snakemake deletes a killed job's."""
        return Path(self.history).parent / "resume"


@dataclass(frozen=True)
class Running:
    """What changes a training's speed and memory alone: `threads` and `processes` of a node."""

    threads: int
    save_every: int
    checkpoint_activations: int = 0  # Snakemake knows no yes and no among resources
    device: str = "auto"
    processes: int = 1
    nodes: int = 1

    @property
    def total(self) -> int:
        """All processes."""
        return self.processes * self.nodes

    @property
    def threads_each(self) -> int:
        """Threads of a process."""
        return max(1, self.threads // self.processes)


@dataclass(frozen=True)
class Job:
    """All that determines a training."""

    files: Files
    settings: Settings
    search: Search
    seed: int
    running: Running

    def write(self) -> Path:
        """The file that hands the job over, in the folder of its state.

        A command line could not: a list of 6,000 shards is longer than a shell's argument may be.
        """
        about = {"settings": self.settings.model_dump(mode="json"), "seed": self.seed}
        about |= {name: asdict(getattr(self, name)) for name in ("files", "search", "running")}
        path = self.files.resume / JOB
        with files.atomic_path(path) as unfinished:
            unfinished.write_text(json.dumps(about), encoding="utf-8")
        return path


def read_job(path: Path | str) -> Job:
    """The job as `Job.write` wrote it."""
    about = json.loads(Path(path).read_text(encoding="utf-8"))
    settings, search = Settings(**about["settings"]), Search(**about["search"])
    return Job(Files(**about["files"]), settings, search, about["seed"], Running(**about["running"]))


def become_torchrun(job: Job) -> None:
    """Replace this process by torchrun, which starts those of `job`: whoever ends or kills it, ends the training."""
    choose_device(job.running.device, job.running.processes, 0)  # one message instead of one a process
    os.environ["OMP_NUM_THREADS"] = str(job.running.threads_each)
    sys.stdout.flush()
    command = launch_command(job.write(), job.running, os.environ)
    os.execvp(command[0], command)  # noqa: S606


def launch_command(path: Path, running: Running, environment: Mapping[str, str]) -> list[str]:
    """torchrun on this machine; for several nodes on each of a Slurm job's, where they meet at this one."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={running.processes}"]
    torchrun += [f"--signals-to-handle={SIGNALS}", f"--shutdown-timeout={SHUTDOWN_S}"]
    entry = ["-m", "icsd.stages.captioner", str(path)]
    if running.nodes == 1:
        return [*torchrun, "--standalone", *entry]
    if "SLURM_JOB_ID" not in environment:
        problem = f"captioner.nodes={running.nodes} needs a Slurm job, and there is none here"
        raise ConfigError(
            f"{problem}: give captioner.nodes: 1, or start torchrun by hand as docs/guide/training.md tells"
        )
    job = environment["SLURM_JOB_ID"]
    meeting = f"{socket.gethostname()}:{FIRST_PORT + int(job) % PORTS}"
    spread = ["srun", "--overlap", f"--nodes={running.nodes}", f"--ntasks={running.nodes}", "--ntasks-per-node=1"]
    # said again, since the executor takes away what srun would know it by
    spread += [f"--cpus-per-task={running.threads}"]
    spread += [f"--gres=gpu:{running.processes}"] if environment.get("CUDA_VISIBLE_DEVICES") else []
    rendezvous = [f"--nnodes={running.nodes}", f"--rdzv-id={job}", "--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}"]
    return [*spread, *torchrun, *rendezvous, *entry]
