"""Jobs on faked GPUs: each is a process of its own, and says which GPUs it sees."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from icsd.core.gpus import FOLDER, POOL, VISIBLE, pool_text

JOB = """
import os, sys
from icsd.core import gpus
from icsd.core.logs import job_log
gpus.POLL_S = 0.05
if int(sys.argv[3]) != os.getuid():
    import filelock  # the other user may not read the folders of this one's Python
    os.setuid(int(sys.argv[3]))
with job_log(sys.argv[1], gpus=int(sys.argv[2])):
    assert "torch" not in sys.modules
    print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    {then}
"""
WAIT = "sys.stdin.read()"
BECOME_ANOTHER = "os.execvp('sh', ['sh', '-c', 'echo $CUDA_VISIBLE_DEVICES; read line'])"
EIGHT = {f"GPU-{number}": f"GPU-{number}" for number in range(8)}
Start = Callable[..., "Job"]


class Job:
    """A job, which runs until its end."""

    def __init__(self, log: Path, pool: dict[str, str], count: int, user: int, then: str) -> None:
        self.log = log
        environment = os.environ | {POOL: pool_text(pool)}
        environment.pop(VISIBLE, None)
        command = [sys.executable, "-c", JOB.format(then=then), str(log), str(count), str(user)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip

    def sees(self) -> str:
        """CUDA_VISIBLE_DEVICES, once it has its GPUs."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def waits(self) -> str:
        """The line of its log that says so, once it is there."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            if found := [line for line in lines if "waiting for" in line]:
                return found[0].partition(" INFO ")[2]
            time.sleep(0.05)
        raise AssertionError("it does not wait")

    def end(self) -> None:
        """Let it end well."""
        self.process.communicate()
        assert self.process.returncode == 0

    def kill(self) -> None:
        """Kill it, without a chance to release anything."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The locks; other users can reach it."""
    with tempfile.TemporaryDirectory(prefix="icsd-test-") as made:
        Path(made).chmod(0o777)
        monkeypatch.setenv(FOLDER, f"{made}/locks")
        yield Path(made) / "locks"


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Start]:
    jobs = list[Job]()

    def begin(
        pool: dict[str, str], count: int = 1, *, user: int = os.getuid(), then: str = WAIT, logs: Path = tmp_path
    ) -> Job:
        jobs.append(Job(logs / f"{len(jobs)}.log", pool, count, user, then))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.kill()


def test_eight_jobs_at_once_see_eight_gpus(start: Start) -> None:
    jobs = [start(EIGHT) for _ in range(8)]
    assert {job.sees() for job in jobs} == set(EIGHT)


def test_a_killed_jobs_gpu_comes_back(start: Start) -> None:
    pool = {"0": "GPU-a", "1": "GPU-b"}
    jobs = [start(pool), start(pool)]
    of = {job.sees(): job for job in jobs}
    third = start(pool)
    third.waits()
    of["1"].kill()
    assert third.sees() == "1"


def test_more_jobs_than_gpus_wait_and_say_so_in_their_log(start: Start) -> None:
    pool = {"3": "GPU-d"}
    first = start(pool)
    assert first.sees() == "3"
    second = start(pool)
    assert second.waits() == "waiting for 1 of 1 GPUs: other jobs of this machine have them"
    first.end()
    assert second.sees() == "3"
    assert second.log.read_text().endswith(" INFO CUDA_VISIBLE_DEVICES=3\n")


def test_two_runs_that_name_the_gpus_differently_do_not_collide(start: Start) -> None:
    numbers, names = {"0": "GPU-a", "1": "GPU-b"}, {"GPU-b": "GPU-b", "GPU-a": "GPU-a"}
    seen = [start(numbers).sees(), start(names).sees()]
    assert seen == ["0", "GPU-b"]
    start(names).waits()


@pytest.mark.skipif(os.getuid() != 0, reason="leases of two users: run as root")
def test_two_users_of_a_machine_do_not_collide(start: Start, folder: Path) -> None:
    nobody, logs = 65534, folder.parent / "logs"
    logs.mkdir()
    logs.chmod(0o777)
    pool = {"0": "GPU-a", "1": "GPU-b"}
    assert start(pool, user=nobody, logs=logs).sees() == "0"
    assert start(pool).sees() == "1"
    start(pool, user=nobody, logs=logs).waits()
    assert {path.stat().st_uid for path in folder.iterdir()} == {0, nobody}


def test_a_training_gets_several_at_once_and_never_half_of_them(start: Start) -> None:
    pool = dict(list(EIGHT.items())[:4])
    first = start(pool)
    first.sees()
    training = start(pool, 4)
    training.waits()
    other = start(pool)  # it does not overtake
    other.waits()
    first.end()
    assert training.sees() == "GPU-0,GPU-1,GPU-2,GPU-3"
    training.end()
    assert other.sees() == "GPU-0"


def test_a_process_keeps_its_gpu_when_it_becomes_another_program(start: Start) -> None:
    pool = {"0": "GPU-a"}
    first = start(pool, then=BECOME_ANOTHER)
    assert [first.sees(), first.sees()] == ["0", "0"]
    second = start(pool)
    second.waits()
    first.kill()
    assert second.sees() == "0"


def test_mig_instances_are_gpus_also_by_their_older_names(start: Start, folder: Path) -> None:
    pool = {name: name for name in ("MIG-c7384736-a559", "MIG-GPU-5c89852c-d268/1/0")}
    assert {start(pool).sees(), start(pool).sees()} == set(pool)
    assert {path.name for path in folder.glob("*/*")} == set()


def test_a_job_without_a_gpu_sees_none(start: Start, folder: Path) -> None:
    assert start(EIGHT, 0).sees() == ""
    assert not folder.exists()


def test_without_gpus_nothing_changes(folder: Path, tmp_path: Path) -> None:
    program = JOB.format(then="assert 'filelock' not in sys.modules")
    for visible in (None, "4,5"):
        environment = {name: value for name, value in os.environ.items() if name not in (POOL, VISIBLE)}
        environment |= {VISIBLE: visible} if visible else {}
        command = [sys.executable, "-c", program, str(tmp_path / "a.log"), "2", str(os.getuid())]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == (f"{visible}\n", "")
        assert (tmp_path / "a.log").read_text() == ""
    assert not folder.exists()


def test_a_folder_that_cannot_have_locks_is_one_message(start: Start, folder: Path) -> None:
    folder.write_text("")
    job = start({"0": "GPU-a"})
    job.process.communicate()
    assert job.process.returncode == 1
    (line,) = job.log.read_text().splitlines()
    assert f"{folder}: the locks of GPUs cannot be kept there (File exists); set {FOLDER} to a folder" in line
