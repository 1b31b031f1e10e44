"""Snakemake asks icsd.workflow.resources what an attempt gets, with the names of arguments that it has."""

import os
import subprocess
from pathlib import Path

from checkout import SNAKEMAKE

SNAKEFILE = """
from icsd.workflow.resources import Jobs
jobs = Jobs.on_cluster(3.0, workflow.resource_settings.default_resources, inside=workflow.remote_exec)

rule first:
    output: "{name}-{number}.txt"
    retries: 2
    resources: mem_mb=jobs.memory(400), runtime=jobs.minutes(10)
    shell:
        "echo {resources.mem_mb} {resources.runtime} >> {output}.asked; "
        "test $(wc -l < {output}.asked) = 3; touch {output}"

use rule first as second with:
    output: "other.txt"
"""
KILLED = "slurmstepd: error: Detected 1 oom_kill event in StepId=1.0.\n"
LATE = "slurmstepd: error: *** JOB 2 ON c1 CANCELLED AT 2026-03-01T10:00:00 DUE TO TIME LIMIT ***\n"


def test_an_attempt_gets_more_of_what_those_before_it_died_of(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    logs = tmp_path / ".snakemake/slurm_logs/rule_first/a_1"
    logs.mkdir(parents=True)
    (logs / "1.log").write_text(KILLED)
    (logs / "2.log").write_text(LATE)
    command = [SNAKEMAKE, "a-1.txt", "other.txt", "--cores", "1", "--default-resources", "most_minutes=15"]
    environment = os.environ | {"PATH": os.defpath}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a-1.txt.asked").read_text().splitlines() == ["400 10", "400 15", "800 15"]
    assert (tmp_path / "other.txt.asked").read_text().splitlines() == ["400 10"] * 3
