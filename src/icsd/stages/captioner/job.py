"""The description of one training, and its start in this process or by torchrun in several."""

import json
import os
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from icsd.config import CaptionerConfig
from icsd.core import files
from icsd.core.errors import ConfigError
from icsd.core.languages import ENGLISH
from icsd.stages.captioner.interface import BeamSearch
from icsd.stages.captioner.processes import choose_device

JOB = "job.json"  # beside the state, deleted with it
EARLIER = (
    "pictures.npy",
    "pictures_index.npy",
    "val_pictures.npy",
)  # pictures, of earlier versions
# torchrun forwards these signals and waits: the processes finish a step or a validation and save their state
SIGNALS, SHUTDOWN_S = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1", 120
FIRST_PORT, PORTS = 20_000, 20_000  # of the rendezvous of several nodes: the Slurm job's number chooses one


@dataclass(frozen=True)
class Files:
    """Paths that one training reads and writes.

    `also` are the pairs of more datasets. `prefixes` has, for the tables of other runs, what tells their image ids from
    those of this one.
    """

    pairs: str
    images: list[str]
    val_images: str
    val_captions: str
    checkpoint: str
    history: str
    log: str
    also: list[str] = field(default_factory=list)
    prefixes: Mapping[str, str] = field(default_factory=dict)

    @property
    def resume(self) -> Path:
        """The folder of the training state. It is no output, because Snakemake deletes the outputs of a killed job."""
        return Path(self.history).parent / "resume"


def prefixes(paths: Iterable[str], datasets: Iterable[Path]) -> dict[str, str]:
    """Return, for those of `paths` that belong to the runs of `datasets`, the prefix of their image ids.

    A dataset is a folder results/<run>/dataset/<arm>.
    """
    runs = {dataset.parents[1] for dataset in datasets}
    return {path: f"{run.name}/" for path in paths for run in runs if run in Path(path).parents}


@dataclass(frozen=True)
class Resources:
    """Settings that change only speed and memory; `threads` and `processes` are those of one node.

    Each process has `workers` that decode its pictures.
    """

    threads: int
    save_every: int
    checkpoint_activations: bool = False
    device: str = "auto"
    processes: int = 1
    nodes: int = 1
    workers: int = 0

    @property
    def total(self) -> int:
        """The number of processes on all nodes."""
        return self.processes * self.nodes

    @property
    def threads_each(self) -> int:
        """The number of threads of one process, beside its workers."""
        return max(1, self.threads // self.processes - self.workers)


@dataclass(frozen=True)
class TrainingJob:
    """Everything that defines one training."""

    files: Files
    settings: CaptionerConfig
    search: BeamSearch
    seed: int
    resources: Resources
    language: str = ENGLISH

    def write(self) -> Path:
        """Write the job to a file beside its state, for the processes of torchrun.

        A command line would be too short: 6,000 shards exceed the limit of an argument.
        """
        about = {"settings": self.settings.model_dump(mode="json"), "seed": self.seed, "language": self.language}
        about |= {name: asdict(getattr(self, name)) for name in ("files", "search", "resources")}
        path = self.files.resume / JOB
        with files.atomic_path(path) as unfinished:
            unfinished.write_text(json.dumps(about), encoding="utf-8")
        return path


def read_job(path: Path | str) -> TrainingJob:
    """Read a job that `TrainingJob.write` wrote."""
    about = json.loads(Path(path).read_text(encoding="utf-8"))
    settings, search = CaptionerConfig(**about["settings"]), BeamSearch(**about["search"])
    paths, resources = Files(**about["files"]), Resources(**about["resources"])
    return TrainingJob(paths, settings, search, about["seed"], resources, about["language"])


def become_torchrun(job: TrainingJob) -> None:
    """Replace this process by torchrun, so that ending or killing it ends the training."""
    choose_device(job.resources.device, job.resources.processes, 0)  # one message instead of one for each process
    os.environ["OMP_NUM_THREADS"] = str(job.resources.threads_each)
    sys.stdout.flush()
    command = launch_command(job.write(), job.resources, os.environ)
    os.execvp(command[0], command)  # noqa: S606


def launch_command(path: Path, resources: Resources, environment: Mapping[str, str]) -> list[str]:
    """Return the torchrun command: for this machine, or through srun for all nodes of the Slurm job."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={resources.processes}"]
    torchrun += [f"--signals-to-handle={SIGNALS}", f"--shutdown-timeout={SHUTDOWN_S}"]
    entry = ["-m", "icsd.stages.captioner", str(path)]
    if resources.nodes == 1:
        return [*torchrun, "--standalone", *entry]
    if "SLURM_JOB_ID" not in environment:
        problem = f"captioner.nodes={resources.nodes} needs a Slurm job, and there is none here"
        raise ConfigError(f"{problem}: give captioner.nodes: 1, or start torchrun by hand (docs/guide/training.md)")
    job = environment["SLURM_JOB_ID"]
    endpoint = f"{socket.gethostname()}:{FIRST_PORT + int(job) % PORTS}"
    srun = ["srun", "--overlap", f"--nodes={resources.nodes}", f"--ntasks={resources.nodes}", "--ntasks-per-node=1"]
    # repeated, because the executor plugin unsets the variable that srun would read
    srun += [f"--cpus-per-task={resources.threads}"]
    srun += [f"--gres=gpu:{resources.processes}"] if environment.get("CUDA_VISIBLE_DEVICES") else []
    rendezvous = [
        f"--nnodes={resources.nodes}",
        f"--rdzv-id={job}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={endpoint}",
    ]
    return [*srun, *torchrun, *rendezvous, *entry]
