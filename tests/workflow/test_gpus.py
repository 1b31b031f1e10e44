"""A run on one machine with faked GPUs: Snakemake starts no more jobs than there are, and each job has its own."""

import itertools
import os
import subprocess
from pathlib import Path

import pytest
from checkout import SNAKEMAKE

from icsd.core.gpus import FOLDER, VISIBLE

SNAKEFILE = """
from icsd.workflow.gpus import announce_gpus
from icsd.workflow.resources import Jobs
from icsd.workflow.start import limit_gpus

GPUS = announce_gpus(main=workflow.is_main_process)
jobs = Jobs.on_cluster(3.0, None, inside=workflow.remote_exec, gpu=min(1, GPUS))

onstart:
    limit_gpus(workflow, GPUS)

rule all:
    input: expand("{number}.txt", number=range(6))

rule work:
    output: "{number}.txt"
    log: "logs/{number}.log"
    resources: gpu=jobs.gpu
    script: "work.py"

rule train:
    output: "training.txt"
    log: "logs/train.log"
    resources: gpu=config.get("processes", 2)
    script: "work.py"
"""
SCRIPT = """
import os, time
from pathlib import Path
from icsd.core.logs import job_log

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    begun = time.monotonic()  # with the lease: before it, another job may still have its GPU
    time.sleep(0.3)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    Path(snakemake.output[0]).write_text(f"{seen} {begun} {time.monotonic()}")
"""
TWO = "#!/bin/sh\necho 'GPU 0: Fake (UUID: GPU-a)'\necho 'GPU 1: Fake (UUID: GPU-b)'\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "work.py").write_text(SCRIPT)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nvidia-smi").write_text(TWO)
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    return tmp_path


def _snakemake(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    programs = f"{folder / 'bin'}:{Path(SNAKEMAKE).parent}:{os.defpath}"
    environment = {name: value for name, value in os.environ.items() if name != VISIBLE}
    environment |= {"PATH": programs, FOLDER: str(folder / "locks"), **more}
    command = [SNAKEMAKE, "--scheduler", "greedy", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _jobs(folder: Path) -> list[tuple[str, float, float]]:
    """What each job saw, its begin and its end, by begin."""
    words = [path.read_text().split(" ") for path in folder.glob("[0-9].txt")]
    return sorted(((seen, float(begun), float(ended)) for seen, begun, ended in words), key=lambda job: job[1])


def test_snakemake_starts_as_many_jobs_as_there_are_gpus(run: Path) -> None:
    done = _snakemake(run, "--cores", "6")
    assert done.returncode == 0, done.stderr
    assert "GPUs of this machine: 2, each leased to one job at a time" in done.stderr
    jobs = _jobs(run)
    assert len(jobs) == 6
    assert {seen for seen, *_ in jobs} == {"GPU-a", "GPU-b"}
    for _, begun, _ in jobs:
        running = [seen for seen, since, until in jobs if since <= begun < until]
        assert len(running) == len(set(running)) <= 2
    assert "waiting" not in done.stderr


def test_a_lower_limit_of_the_user_stays(run: Path) -> None:
    assert _snakemake(run, "--cores", "6", "--resources", "gpu=1").returncode == 0
    jobs = _jobs(run)
    assert all(earlier[2] < later[1] for earlier, later in itertools.pairwise(jobs))


def test_a_training_has_several_and_more_than_there_are_is_one_message(run: Path) -> None:
    assert _snakemake(run, "training.txt", "--cores", "6", "--jobs", "6").returncode == 0
    assert (run / "training.txt").read_text().startswith("GPU-a,GPU-b ")
    done = _snakemake(run, "training.txt", "--cores", "6", "--forceall", "--config", "processes=3")
    assert done.returncode == 1
    assert "train needs 3 GPUs, and this run has 2: set captioner.processes to 2 or less" in done.stderr


def test_on_processors_alone_nothing_changes(run: Path) -> None:
    done = _snakemake(run, "--cores", "6", **{VISIBLE: ""})
    assert done.returncode == 0, done.stderr
    assert {seen for seen, *_ in _jobs(run)} == {""}
    assert "GPU" not in done.stderr
    assert not (run / "locks").exists()


def test_a_job_of_a_cluster_keeps_the_gpus_of_its_scheduler(run: Path) -> None:
    """In remote mode, as an executor starts it, with what the head's environment had."""
    inherited = {"ICSD_GPUS": "0=GPU-x,1=GPU-y", VISIBLE: "5"}
    done = _snakemake(run, "0.txt", "--cores", "1", "--mode", "remote", "--nolock", **inherited)
    assert done.returncode == 0, done.stderr
    assert (run / "0.txt").read_text().startswith("5 ")
    assert not (run / "locks").exists()
