"""The cluster of the tests itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml
from cluster import MARK, PATIENCE_S, Cluster
from processes import INTERRUPTIBLE, marked

PARTITIONS = Path(__file__).parents[2] / "profiles/slurm/partitions.yaml"
CLUSTER = Path(__file__).with_name("cluster.py")


def test_the_partitions_can_be_written_down_by_the_command_of_the_docs(cluster: Cluster) -> None:
    """Those of the profile are among them, with GPUs in one alone."""
    found = yaml.safe_load(cluster.run("generate-slurm-partition-config"))["partitions"]
    named = yaml.safe_load(PARTITIONS.read_text())["partitions"]
    assert named.keys() <= found.keys()
    assert [name for name, limits in found.items() if "max_gpu" in limits] == ["gpu"]


def test_ctrl_c_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    """A second cluster is stopped while a job runs on it."""
    where = tmp_path / "where"
    session = f"sbatch --output=/dev/null --wrap='hostname; echo ${MARK} > {where}; sleep 300'; sleep 300"
    command = [*INTERRUPTIBLE, sys.executable, CLUSTER, "sh", "-c", session]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (where.exists() and where.read_text().endswith("\n")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        folder = where.read_text().strip()
        assert len(list(marked({MARK: folder}))) > 10
        os.killpg(process.pid, signal.SIGINT)
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert list(marked({MARK: folder})) == []
    assert not Path(folder).exists()
