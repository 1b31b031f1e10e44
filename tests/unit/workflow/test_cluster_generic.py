"""The profile of clusters that are no SLURM: its GPU rules, and the states that its status command knows."""

import subprocess
from pathlib import Path

import pytest
import yaml

PROFILES = Path(__file__).parents[3] / "profiles"
STATUS = PROFILES / "cluster-generic/status.sh"


def test_the_same_rules_have_a_gpu_on_every_cluster() -> None:
    profiles = {
        name: yaml.safe_load((PROFILES / name / "config.yaml").read_text()) for name in ("slurm", "cluster-generic")
    }
    gpus = {
        name: {rule: asked["gpu"] for rule, asked in each["set-resources"].items()} for name, each in profiles.items()
    }
    assert gpus["slurm"] == gpus["cluster-generic"]


@pytest.mark.parametrize(
    ("queue", "accounting", "word"),
    [
        ("RUNNING", "", "running"),
        ("PENDING", "", "running"),
        ("COMPLETED", "", "success"),
        ("", "COMPLETED", "success"),  # forgotten by the controller
        ("TIMEOUT", "", "failed"),
        ("OUT_OF_MEMORY", "", "failed"),
        ("", "CANCELLED by 1000", "failed"),
        ("", "", "failed"),  # known to neither
    ],
)
def test_the_state_of_a_job_is_one_word(tmp_path: Path, queue: str, accounting: str, word: str) -> None:
    for name, said in {"squeue": queue, "sacct": accounting}.items():
        (tmp_path / name).write_text(f'#!/bin/sh\n[ -z "{said}" ] || echo "{said}"\n')
        (tmp_path / name).chmod(0o755)
    command, path = ["sh", str(STATUS), "7"], f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=True)
    assert done.stdout == f"{word}\n"
