"""A training of several processes, as one job on one node and on two: the curve of one process, stopped or not.

The tests' GPUs cannot compute: the processes see them, and train on processors.
"""

import os
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from accounting import Job, ended
from captioner_world import SEARCH, job_of, settings_of, write_world
from checkout import OVERLAY, Checkout, Config
from cluster import MARK, Cluster
from conftest import check_out
from head import Head, Submit
from processes import marked

from icsd.config import CaptionerConfig
from icsd.core import tables
from icsd.stages.captioner import state
from icsd.stages.captioner.job import Files
from icsd.stages.captioner.training import train

STEPS = 120
LONG_S = 300.0  # for processes to start on a machine with other work, or for SLURM's signal
# a signal 90 to 120 seconds after the first job has begun; the next has time enough on any machine
BEFORE_ITS_TIME = ("runtime=3 if attempt == 1 else 30", "slurm_extra='--signal=TERM@60'")


@dataclass(frozen=True)
class Trained:
    """A training that has ended on the cluster, and what was seen of its processes at work."""

    jobs: list[Job]
    losses: list[float]
    log: str
    seen: Mapping[str, str]  # LOCAL_RANK -> CUDA_VISIBLE_DEVICES


@pytest.fixture(scope="module")
def settings(captioner_folder: Path) -> CaptionerConfig:
    """Two parts, a gentle rate, since a high one makes much of a rounding."""
    changes = {"steps": STEPS, "learning_rate": 1e-3, "batch_parts": 2, "validate_every": 40}
    return settings_of(captioner_folder).model_copy(update=changes)


@pytest.fixture(scope="module")
def alone(settings: CaptionerConfig, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of one process."""
    files = write_world(tmp_path_factory.mktemp("alone"))
    train(job_of(files, settings))
    return losses(Path(files.history))


@pytest.fixture(scope="module")
def stopped(
    cluster: Cluster,
    submit: Submit,
    overlay: Config,
    settings: CaptionerConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    """On two GPUs of a node, held until SLURM's signal has come."""
    checkout = with_world(tmp_path_factory.mktemp("stopped") / "icsd", overlay, settings, processes=2)
    head = train_on(submit, checkout, *BEFORE_ITS_TIME)
    resume = files_of(checkout).resume
    cluster.wait((resume / state.FILE).exists, LONG_S)
    workers = workers_of(cluster)
    seen = {environment(pid)["LOCAL_RANK"]: environment(pid)["CUDA_VISIBLE_DEVICES"] for pid in workers}
    signal_all(workers, signal.SIGSTOP)  # else the steps would be done before the time is
    cluster.wait(lambda: all(received_sigterm(pid) for pid in workers), LONG_S)
    signal_all(workers, signal.SIGCONT)  # where SLURM has not done so
    return result(cluster, head, checkout, seen)


def test_two_processes_of_a_job_see_two_gpus(stopped: Trained) -> None:
    assert stopped.seen == {"0": "0,1", "1": "0,1"}
    assert {(job.gpus, job.got["node"], job.partition) for job in stopped.jobs} == {(2, "1", "gpu")}


def test_a_training_stopped_before_its_walltime_goes_on_in_the_next_job(stopped: Trained) -> None:
    assert [(job.state, job.minutes) for job in stopped.jobs] == [("FAILED", 3), ("COMPLETED", 30)]
    assert re.search(r"resuming after step \d+, from", stopped.log)


def test_it_has_the_curve_of_one_process(stopped: Trained, alone: list[float]) -> None:
    assert stopped.losses == pytest.approx(alone, abs=1e-3)


def test_two_nodes_have_the_curve_of_one_process(
    cluster: Cluster, submit: Submit, overlay: Config, settings: CaptionerConfig, alone: list[float], tmp_path: Path
) -> None:
    checkout = with_world(tmp_path / "icsd", overlay, settings, processes=1, nodes=2)
    trained = result(cluster, train_on(submit, checkout), checkout, {})
    [job] = trained.jobs
    assert (job.state, job.got["node"], job.gpus, job.partition) == ("COMPLETED", "2", 2, "gpu")
    assert "2 processes, 2 parts a step" in trained.log
    assert trained.losses == pytest.approx(alone, abs=1e-3)


def with_world(folder: Path, overlay: Config, settings: CaptionerConfig, **running: int) -> Checkout:
    """A checkout in which all is there but the training."""
    chosen = settings.model_dump(mode="json") | {"device": "auto", "checkpoint_every": 2, **running}
    evaluation = {"beams": SEARCH.beams, "min_tokens": SEARCH.min_tokens, "max_tokens": SEARCH.max_tokens}
    checkout = check_out(folder, overlay | {"shards": 1, "captioner": chosen, "evaluation": evaluation})
    written, files = write_world(folder), files_of(checkout)
    places = zip(
        (written.pairs, *written.images, written.val_images, written.val_captions),
        (files.pairs, *files.images, files.val_images, files.val_captions),
        strict=True,
    )
    for source, place in places:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(source).rename(place)
    return checkout


def files_of(checkout: Checkout) -> Files:
    """Return the files that the rule reads and writes."""
    results = checkout.results
    return Files(
        pairs=str(results / "dataset/multi/pairs.parquet"),
        images=[str(results / "images/multi/0000-of-0001.parquet")],
        val_images=str(results / "pictures/val/images.parquet"),
        val_captions=str(results / "pictures/val/captions.parquet"),
        checkpoint=str(results / "captioner/multi/seed-0/checkpoint"),
        history=str(results / "captioner/multi/seed-0/history.parquet"),
        log=str(results / "logs/train_captioner/multi-seed-0.log"),
    )


def train_on(submit: Submit, checkout: Checkout, *resources: str) -> Head:
    """The Snakemake that submits the training, with other resources than the rule's."""
    target = Path(files_of(checkout).history).relative_to(checkout.folder)
    asked = [f"train_captioner:{each}" for each in resources]
    overridden = ["--set-resources", *asked] if asked else []
    rules = ["--allowed-rules", "train_captioner"]
    return submit(checkout.folder, str(target), "--configfile", OVERLAY, *rules, *overridden)


def result(cluster: Cluster, head: Head, checkout: Checkout, seen: Mapping[str, str]) -> Trained:
    """The training's jobs and losses, once it is done."""
    head.succeed()
    files = files_of(checkout)
    assert not files.resume.exists()
    return Trained(ended(cluster, head.run), losses(Path(files.history)), Path(files.log).read_text(), seen)


def losses(history: Path) -> list[float]:
    """Return the loss of every step."""
    rows = tables.read(history, tables.HISTORY).to_pylist()
    return [row["loss"] for row in rows if row["metric"] is None]


def workers_of(cluster: Cluster) -> list[int]:
    """The processes that train on the cluster, which torchrun has given a rank."""
    ours = marked({MARK: str(cluster.folder)})
    return [pid for pid in ours if "LOCAL_RANK" in environment(pid)]


def environment(pid: int) -> dict[str, str]:
    """Return the environment of a process; empty if it has ended."""
    with suppress(OSError):
        entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)
    return {}


def received_sigterm(pid: int) -> bool:
    """Return whether SIGTERM is pending for a stopped process, or the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    pending = re.findall(r"^S(?:ig|hd)Pnd:\s*(\w+)", status, re.MULTILINE)
    return any(int(bits, 16) >> (signal.SIGTERM - 1) & 1 for bits in pending)


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """The same signal to each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
