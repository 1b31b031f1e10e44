"""A training in parts and in several processes, which must have the curve of one process."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from captioner_world import elsewhere, job_of, said_of, settings_of, write_world
from transformers.models.bert.modeling_bert import BertOutput
from transformers.models.clip.modeling_clip import CLIPMLP

from icsd.config import CaptionerConfig
from icsd.core import tables
from icsd.core.errors import ConfigError, StoppedError
from icsd.stages.captioner import state, training
from icsd.stages.captioner.job import Files, Resources, TrainingJob, launch_command, read_job
from icsd.stages.captioner.processes import Processes, choose_device, exit_with_parent
from icsd.stages.captioner.steps import Part, Setup, update
from icsd.stages.captioner.training import train, train_captioner

LIMIT_S = 300
Losses = list[float]


@pytest.fixture
def settings(captioner_folder: Path) -> CaptionerConfig:
    """Settings with a low learning rate, since a high one amplifies rounding."""
    changes = {
        "steps": 40,
        "learning_rate": 1e-3,
        "batch_parts": 2,
        "validate_every": 8,
        "flip": True,
        "crop": 0.5,
        "crop_from": "picture",
    }
    return settings_of(captioner_folder).model_copy(update=changes)


@pytest.fixture
def paths(tmp_path: Path) -> Files:
    """Captions of two to six words, so that parts differ in their number of tokens."""
    files = write_world(tmp_path)
    pairs = [
        {"image_id": f"multi-{n}", "caption_id": n, "caption": " ".join(said_of(n).split()[: 2 + 4 * (n % 2)])}
        for n in range(8)
    ]
    tables.write(files.pairs, tables.PAIRS, pairs)
    return files


def losses(files: Files) -> Losses:
    rows = tables.read(files.history, tables.HISTORY).to_pylist()
    return [row["loss"] for row in rows if row["metric"] is None]


def scores(files: Files) -> list[float]:
    rows = tables.read(files.history, tables.HISTORY).to_pylist()
    return [row["value"] for row in rows if row["metric"]]


def start(job: TrainingJob) -> subprocess.Popen[bytes]:
    """Start torchrun with the command of the job."""
    with Path(job.files.log).with_suffix(".said").open("ab") as said:
        command = launch_command(job.write(), job.resources, {})
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.Popen(command, stdout=said, stderr=said, env=environment)


def counted(forward: Callable[..., torch.Tensor], calls: list[torch.nn.Module]) -> Callable[..., torch.Tensor]:
    """Wrap `forward` so that each call in training adds its module to `calls`."""

    def counting(self: torch.nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            calls.append(self)
        return forward(self, *inputs)

    return counting


def signalled(
    update: Callable[[Setup, int, Sequence[Part]], object], last: int, number: signal.Signals
) -> Callable[..., object]:
    """Wrap `update` so that the signal arrives during the step `last`."""

    def updating(setup: Setup, step: int, parts: Sequence[Part]) -> object:
        if step + 1 == last:
            os.kill(os.getpid(), number)
        return update(setup, step, parts)

    return updating


def workers_of(agent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{agent}/task/{agent}/children").read_text().split()]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes found in /proc: run on Linux")
def test_two_killed_and_restarted_processes_have_the_curve_of_one(
    paths: Files, settings: CaptionerConfig, tmp_path: Path
):
    train(job_of(paths, settings))
    two = job_of(elsewhere(paths, tmp_path), settings, processes=2, workers=1, device="cpu", save_every=2)
    resume = two.files.resume

    agent = start(two)
    wait_until((resume / state.FILE).exists, "no state was saved")
    processes = workers_of(agent.pid)
    decoding = [worker for process in processes for worker in workers_of(process)]
    agent.kill()
    agent.wait()
    wait_until(lambda: not any(map(running, processes + decoding)), "the processes outlive torchrun")
    assert len(processes) == 2 and len(decoding) >= 2
    assert not Path(two.files.history).exists()

    said = Path(two.files.log).with_suffix(".said")
    assert start(two).wait(LIMIT_S) == 0, said.read_text()
    log = Path(two.files.log).read_text()
    assert "resuming after step" in log and "WARNING" not in log
    assert losses(two.files) == pytest.approx(losses(paths), abs=1e-4)
    assert scores(two.files) == pytest.approx(scores(paths), abs=1e-6)
    assert not resume.exists()


def test_a_stopped_training_saves_its_state_and_resumes_its_curve(
    paths: Files, settings: CaptionerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each signal is sent once, at a step without a scheduled save."""
    train(job_of(paths, settings))
    job, handlers = job_of(elsewhere(paths, tmp_path), settings, save_every=100), signal.getsignal(signal.SIGTERM)
    for number, step in ((signal.SIGTERM, 11), (signal.SIGUSR1, 30)):
        with monkeypatch.context() as patched:
            patched.setattr(training, "update", signalled(update, step, number))
            with pytest.raises(StoppedError, match=f"stopped by a signal after step {step} of 40: .* state is saved"):
                train(job)
        assert not Path(job.files.history).exists()
    train(job)
    assert losses(job.files) == losses(paths) and scores(job.files) == scores(paths)
    assert signal.getsignal(signal.SIGTERM) == handlers


def test_a_training_stopped_at_its_last_step_writes_in_the_next_run(
    paths: Files, settings: CaptionerConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training, "update", signalled(update, 40, signal.SIGTERM))
    with pytest.raises(StoppedError, match="after step 40 of 40"):
        train(job_of(paths, settings))
    assert not Path(paths.history).exists()
    train(job_of(paths, settings))
    assert len(losses(paths)) == 40 and Path(paths.checkpoint).exists() and not paths.resume.exists()


def test_a_stop_signal_to_torchrun_stops_both_processes(paths: Files, settings: CaptionerConfig, tmp_path: Path):
    """torchrun forwards the signal to its processes; the losses before and after it form one curve."""
    train(job_of(paths, settings))
    two = job_of(elsewhere(paths, tmp_path), settings, processes=2, device="cpu", save_every=2)
    said, log = Path(two.files.log).with_suffix(".said"), Path(two.files.log)
    agent = start(two)
    wait_until((two.files.resume / state.FILE).exists, "no state was saved")
    agent.send_signal(signal.SIGUSR1)
    assert agent.wait(LIMIT_S) != 0
    stopped = re.search(r"stopped by a signal after step (\d+) of 40", log.read_text())
    assert stopped, said.read_text()
    assert start(two).wait(LIMIT_S) == 0, said.read_text()
    assert f"resuming after step {stopped[1]}," in log.read_text()
    assert losses(two.files) == pytest.approx(losses(paths), abs=1e-4)


def test_two_parts_are_one_batch(paths: Files, settings: CaptionerConfig, tmp_path: Path):
    """Dropout is off, because it is drawn by part."""
    decoder = settings.decoder.model_copy(update={"dropout": 0.0})
    whole = settings.model_copy(update={"decoder": decoder, "batch_parts": 1})
    train(job_of(paths, whole))
    parts = elsewhere(paths, tmp_path)
    train(job_of(parts, whole.model_copy(update={"batch_parts": 4})))
    assert losses(parts) == pytest.approx(losses(paths), abs=1e-4)


def test_recomputed_activations_change_nothing(
    paths: Files, settings: CaptionerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls: list[torch.nn.Module] = []
    for layer in (CLIPMLP, BertOutput):
        monkeypatch.setattr(layer, "forward", counted(layer.forward, calls))
    short = settings.model_copy(update={"steps": 4})
    train(job_of(paths, short))
    once = len(calls)
    other = elsewhere(paths, tmp_path)
    train(job_of(other, short, checkpoint_activations=1))
    assert (once, len(calls)) == (16, 16 + 32)  # four steps of two parts, a layer of encoder and decoder each
    assert losses(other) == losses(paths)


def test_parts_that_cannot_be_divided_among_processes_are_refused(paths: Files, settings: CaptionerConfig):
    with pytest.raises(ConfigError, match=r"captioner\.batch_parts=2 cannot be divided among 3 processes"):
        train_captioner(job_of(paths, settings), Processes(count=3))


def test_a_job_is_read_as_it_was_written(paths: Files, settings: CaptionerConfig):
    job = job_of(paths, settings, processes=2, device="cpu")
    assert read_job(job.write()) == job


def test_interleaved_shares_have_the_original_order():
    three = [Processes(rank, 3) for rank in range(3)]
    assert three[0].interleave([each.share("abcde") for each in three]) == list("abcde")


def test_a_process_without_its_torchrun_ends(caplog: pytest.LogCaptureFixture):
    ends: list[int] = []
    exit_with_parent(os.getppid() + 1, ends.append)
    assert ends == [1] and "torchrun, the parent of this process, has ended" in caplog.text


def test_a_gpu_that_is_not_there_is_one_message(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", 4, 0).type == "cpu"
    with pytest.raises(
        ConfigError, match=r"captioner\.device=cuda .*processes=4 needs 4 GPUs .* this one has 0: request"
    ):
        choose_device("cuda", 4, 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto", 2, 1) == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match="this one has 2"):
        choose_device("auto", 4, 0)


def test_several_nodes_rendezvous_at_the_first_of_a_slurm_job(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("socket.gethostname", lambda: "node-a")
    running = Resources(threads=2, save_every=1, processes=4, nodes=2)
    command = " ".join(launch_command(Path("job.json"), running, {"SLURM_JOB_ID": "20007"}))
    assert command.startswith("srun --overlap --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=2 ")
    assert "--nproc-per-node=4 " in command
    assert "--gres" not in command
    assert "--nnodes=2 --rdzv-id=20007 --rdzv-backend=c10d --rdzv-endpoint=node-a:20007" in command
    on_gpus = launch_command(Path("job.json"), running, {"SLURM_JOB_ID": "20007", "CUDA_VISIBLE_DEVICES": "0,1,2,3"})
    assert "--gres=gpu:4" in on_gpus[: on_gpus.index("torch.distributed.run")]
    with pytest.raises(ConfigError, match=r"captioner\.nodes=2 needs a Slurm job"):
        launch_command(Path("job.json"), running, {})
