"""The GPUs of a machine, as a faked nvidia-smi lists them."""

import os
from pathlib import Path

import pytest

from icsd.core.errors import ClusterError
from icsd.core.gpus import POOL, VISIBLE
from icsd.workflow import gpus
from icsd.workflow.gpus import announce_gpus, find_gpus

TWO = """\
GPU 0: NVIDIA H200 (UUID: GPU-5c89852c-d268)
GPU 1: NVIDIA H200 (UUID: GPU-8b1f6d0a-77e3)
"""
PARTITIONED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-a559)
  MIG 3g.20gb     Device  1: (UUID: MIG-7845319c-7e3f)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-8b1f6d0a-77e3)
"""
A, B = "GPU-5c89852c-d268", "GPU-8b1f6d0a-77e3"
FIRST, SECOND = "MIG-c7384736-a559", "MIG-7845319c-7e3f"
OLDER = "MIG-GPU-5c89852c-d268/1/0"


def _install(folder: Path, text: str, status: int = 0) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ntest \"$1\" = -L || exit 9\ncat <<'END'\n{text}END\nexit {status}\n")
    program.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH, without nvidia-smi."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    monkeypatch.delenv(VISIBLE, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("chosen", "listed", "found"),
    [
        (None, TWO, {A: A, B: B}),
        ("0,1", TWO, {"0": A, "1": B}),
        ("1", TWO, {"1": B}),
        (f"{B}, {A}", TWO, {B: B, A: A}),
        ("GPU-8b,0", TWO, {"GPU-8b": B, "0": A}),
        (f"0,{A}", TWO, {"0": A}),  # one GPU, twice
        ("1,7,0", TWO, {"1": B}),
        ("0,-1,1", TWO, {"0": A}),
        ("", TWO, {}),
        ("-1", TWO, {}),
        ("NoDevFiles", TWO, {}),
        (None, PARTITIONED, {FIRST: FIRST, SECOND: SECOND, B: B}),
        (SECOND, PARTITIONED, {SECOND: SECOND}),
        ("0,1", PARTITIONED, {"0": FIRST, "1": B}),  # CUDA takes the first instance
        (OLDER, PARTITIONED, {OLDER: OLDER}),
        ("3,4", None, {"3": "3", "4": "4"}),
        (f"{A},{FIRST}", None, {A: A, FIRST: FIRST}),
        (None, None, {}),
    ],
)
def test_gpus_are_those_that_cuda_would_use(
    programs: Path, chosen: str | None, listed: str | None, found: dict[str, str]
) -> None:
    if listed is not None:
        _install(programs, listed)
    assert find_gpus({} if chosen is None else {VISIBLE: chosen}) == found


def test_a_machine_without_a_driver_has_none(programs: Path) -> None:
    _install(programs, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", status=9)
    assert find_gpus({}) == find_gpus({VISIBLE: "0"}) == {}


def test_a_driver_that_hangs_is_one_message(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (programs / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    (programs / "nvidia-smi").chmod(0o755)
    monkeypatch.setattr(gpus, "TIMEOUT_S", 0.1)
    with pytest.raises(ClusterError, match=r"^nvidia-smi -L has not listed .* `CUDA_VISIBLE_DEVICES= snakemake` runs"):
        find_gpus({})
    assert find_gpus({VISIBLE: ""}) == {}


def test_jobs_of_the_main_process_know_its_gpus_and_those_of_a_cluster_do_not(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POOL, "of=another")
    assert announce_gpus(main=True) == 0
    assert POOL not in os.environ
    _install(programs, TWO)
    monkeypatch.setenv(VISIBLE, "1,0")
    assert announce_gpus(main=True) == 2
    assert os.environ[POOL] == f"1={B},0={A}"
    assert announce_gpus(main=False) == 0
    assert POOL not in os.environ
    assert os.environ[VISIBLE] == "1,0"
