"""One cluster for all tests, on which the long runs begin at once: the picture book's, one whose jobs come to grief.

They are waited for by the tests that read what became of them, so that the minutes pass together.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from checkout import OVERLAY, Checkout, Config
from cluster import Cluster, running_cluster
from head import Head, MakeFolder, Submit, start

from icsd.picturebook.splits import write_annotations, write_pictures

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CHECKED_OUT = ("Snakefile", "rules", "scripts", "envs", "config", "profiles", "report", "slurm")
SHARDS = 4
SCENES = {"text": 40, "real": 12, "val": 12, "test": 12}  # with five captions each


NOT_CHECKED = [
    "memory that the kernel enforces: without cgroups SLURM's daemon looks at it every second, and ends the job itself",
    "GPUs that compute, and that one job cannot see another's: they are links to /dev/null",
    "several machines and their network file system: all nodes are this one",
]
AS_ROOT = "what another user may not do: these tests ran as root, and so did the jobs"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what passing these tests does not show."""
    terminalreporter.section("not checked on this cluster")
    for line in [*NOT_CHECKED, *[AS_ROOT] * (os.geteuid() == 0)]:
        terminalreporter.line(f"- {line}")


@pytest.fixture(scope="session", autouse=True)
def cluster() -> Iterator[Cluster]:
    """The cluster; whatever still runs there ends with the tests."""
    done = subprocess.run([HERE.parent / "packages.sh", "slurm"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.exit(done.stderr, returncode=1)
    with running_cluster() as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def begun(request: pytest.FixtureRequest, cluster: Cluster) -> None:
    """Start the long runs before the first test, if a test needs them."""
    for name in ("on_cluster", "local_run", "steered_around", "troubled"):
        if any(name in item.fixturenames for item in request.session.items):
            request.getfixturevalue(name)


@pytest.fixture(scope="session")
def submit(cluster: Cluster) -> Iterator[Submit]:
    """Starts `snakemake --profile slurm` in a folder; those that still run end with the tests."""
    heads: list[Head] = []

    def start_one(folder: Path, *arguments: str, **options: Any) -> Head:
        heads.append(start(cluster, folder, *arguments, **options))
        return heads[-1]

    yield start_one
    for head in heads:
        head.process.kill()
        head.process.wait()


@pytest.fixture(scope="session")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The picture book with its own models, and little of everything."""
    corpus = tmp_path_factory.mktemp("corpus")
    for split, scenes in SCENES.items():
        write_annotations(split, corpus / f"captions_{split}.json", scenes)
        if split != "text":
            write_pictures(split, corpus / split, scenes)
    pictures = {split: {"annotations": str(corpus / f"captions_{split}.json"), "images": str(corpus / split)}
                for split in SCENES if split != "text"}  # fmt: skip
    return {
        "run": "tiny",
        "shards": SHARDS,
        "arms": ["multi"],
        "captions": {"annotations": str(corpus / "captions_text.json")},
        "pictures": pictures,
        "groups": {"k": 10},
        "images": {"max_summaries": 16, "steps": 2},
        "dataset": {"max_drop_share": 1.0},
        "captioner": {
            "steps": 6, "warmup_steps": 1, "validate_every": 3, "checkpoint_every": 2, "precision": "float32",
        },
        "evaluation": {"beams": 1, "max_tokens": 12, "bootstrap_samples": 20, "metrics": ["BLEU", "ROUGE_L", "CIDEr"]},
    }  # fmt: skip


@pytest.fixture(scope="session")
def on_cluster(submit: Submit, overlay: Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, Head]:
    """A checkout in which the picture book runs on the cluster, and the Snakemake that runs it."""
    checkout = check_out(tmp_path_factory.mktemp("cluster") / "icsd", overlay)
    return checkout, submit(checkout.folder, "--configfile", OVERLAY)


@pytest.fixture(scope="session")
def local_run(overlay: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Checkout]]:
    """Waits for the same without the cluster, and in one shard, which changes no table and saves jobs."""
    checkout = check_out(tmp_path_factory.mktemp("local") / "icsd", overlay | {"shards": 1})
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(checkout.run)

        def done() -> Checkout:
            running.result()
            return checkout

        yield done


@pytest.fixture(scope="session")
def troubled(cluster: Cluster, submit: Submit, folder_with: MakeFolder) -> Head:
    """A run of troubles.smk, after one of its jobs was cancelled, one lost its node, and one had to make room."""
    folder = folder_with("troubles")
    head = submit(folder)
    waiting = ("cancelled", "node", "preempted")
    cluster.wait(lambda: all((folder / f"{trouble}.txt.began").exists() for trouble in waiting))
    cancelled, on_dying_node, preempted = (_job_of(cluster, head, trouble) for trouble in waiting)
    cluster.run("scancel", cancelled)
    cluster.kill_node(cluster.run("squeue", "-h", "-o", "%N", "-j", on_dying_node).strip())
    cluster.run("sbatch", "-p", "urgent", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    for requeued in (preempted, on_dying_node):
        _start_at_once(cluster, requeued)
    return head


@pytest.fixture(scope="session")
def steered_around(submit: Submit, folder_with: MakeFolder) -> tuple[Head, Head]:
    """Runs of upstream.smk: two jobs as one array, and two jobs in one group."""
    array = submit(folder_with("upstream"), "arrays", "--slurm-array-jobs=in_array", "--retries=0", "--latency-wait=0")
    group = submit(folder_with("upstream"), "groups", "--group-components=shards=2", "--retries=0")
    return array, group


@pytest.fixture(scope="session")
def folder_with(tmp_path_factory: pytest.TempPathFactory) -> MakeFolder:
    """Makes a folder in which `snakemake --profile slurm` runs one of the Snakefiles that lie here."""

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        shutil.copy2(HERE / f"{name}.smk", folder / "Snakefile")
        shutil.copytree(ROOT / "profiles", folder / "profiles")
        shutil.copy2(ROOT / "slurm", folder / "slurm", follow_symlinks=False)
        return folder

    return make


def _job_of(cluster: Cluster, head: Head, rule: str) -> str:
    """The id of the job that runs for a rule now."""
    lines = cluster.run("squeue", "-h", "--states=running", f"--name={head.run}", "-o", "%i %k").splitlines()
    (found,) = [line.split()[0] for line in lines if f"rule_{rule}_" in line]
    return found


def _start_at_once(cluster: Cluster, job: str) -> None:
    """Wait until SLURM has put a job back into its queue, and lift the two minutes for which it holds it there."""
    cluster.wait(lambda: cluster.run("squeue", "-h", "-o", "%T", "-j", job).strip() == "PENDING")
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")


def check_out(folder: Path, overlay: Config) -> Checkout:
    """A checkout in a new folder, in which nothing has run."""
    folder.mkdir()
    for name in CHECKED_OUT:
        source = ROOT / name
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".snakemake"))
        else:
            shutil.copy2(source, folder / name, follow_symlinks=False)
    (folder / "resources").symlink_to(ROOT / "resources")
    checkout = Checkout(folder, overlay)
    checkout.save()
    return checkout
