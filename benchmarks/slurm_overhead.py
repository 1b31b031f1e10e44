"""Measure the overhead of a SLURM job: the seconds from its start to its first line of work, and its imports.

The cluster is the one on which this is typed. Where there is none, the cluster of the tests is started on this machine.

The jobs use this project's Snakefile and profile and run one at a time, so that none waits for another or shares its
processors. Each records when its first line ran and when it had imported the modules of a stage. The time in the queue
comes from the accounting, in whole seconds. It depends on the cluster's load and is left out of the sum.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean

from icsd.core.text import markdown_table

ROOT = Path(__file__).parents[1]
LINKED = ("config", "profiles", "slurm", "resources", "rules", "scripts", "envs")
SHARE = 0.05  # of a job's time that may be overhead
STAGES = {  # the modules that a stage's jobs import: those of its script and the backend
    "dataset (tables only)": ["icsd.stages.dataset"],
    "summaries (endpoint)": ["icsd.stages.summaries", "icsd.llm.client"],
    "neighbours": ["icsd.stages.groups", "icsd.models.neighbors"],
    "embeddings": ["icsd.stages.embeddings", "icsd.models.open_clip_text"],
    "images": ["icsd.stages.images", "icsd.models.image_generator"],
    "captioner": ["icsd.stages.captioner.training"],
}
SNAKEFILE = """
include: "{root}/Snakefile"

rule overhead:
    output: "{{number}}-{{repetition}}.json"
    params: modules=lambda wildcards: {stages}[int(wildcards.number)]
    resources: mem_mb=2000, runtime=10
    script: "job.py"
"""
JOB = """
import time
first = time.time()
import importlib, json, os
for module in snakemake.params.modules:
    importlib.import_module(module)
times = {"job": os.environ["SLURM_JOB_ID"], "first": first, "imported": time.time()}
with open(snakemake.output[0], "w") as file:
    json.dump(times, file)
"""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repetitions", type=int, default=3, metavar="N", help="jobs of each kind (default: %(default)s)"
    )
    options = parser.parse_args()
    if not _on_a_cluster():
        raise SystemExit(_on_the_tests_cluster())
    # nodes may not see /tmp
    with tempfile.TemporaryDirectory(prefix="slurm-overhead-", dir=ROOT / "results") as folder:
        _run(Path(folder), options.repetitions)
        rows = [_row(name, Path(folder), number) for number, name in enumerate(STAGES)]
    header = ["job", "queue", "start to first line", "imports", "overhead", f"work for {SHARE:.0%} overhead"]
    print("\n".join(markdown_table(header, rows)))
    print(
        f"\nSeconds, means of {options.repetitions} jobs; {os.cpu_count()} processors, load {os.getloadavg()[1]:.1f}."
    )


def _on_a_cluster() -> bool:
    return shutil.which("sbatch") is not None and subprocess.run(["sinfo"], capture_output=True).returncode == 0


def _on_the_tests_cluster() -> int:
    """Run the same command on the cluster of the tests, and return its status."""
    subprocess.run([ROOT / "tests/packages.sh", "slurm"], check=True)
    return subprocess.run([sys.executable, ROOT / "tests/slurm/cluster.py", sys.executable, *sys.argv]).returncode


def _run(folder: Path, repetitions: int) -> None:
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    (folder / "Snakefile").write_text(SNAKEFILE.format(root=ROOT, stages=list(STAGES.values())))
    (folder / "job.py").write_text(JOB)
    targets = [f"{number}-{repetition}.json" for number in range(len(STAGES)) for repetition in range(repetitions)]
    command = [sys.executable, "-m", "snakemake", *targets, "--profile", "slurm", "--jobs", "1", "--quiet", "all"]
    quick = ["--slurm-init-seconds-before-status-checks", "1"]
    subprocess.run([*command, *quick], cwd=folder, check=True, stdout=sys.stderr)


def _row(name: str, folder: Path, number: int) -> list[str]:
    jobs = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{number}-*.json"))]
    queued, before, imports = zip(*(_seconds(job) for job in jobs), strict=True)
    overhead = fmean(before) + fmean(imports)
    figures = (fmean(queued), fmean(before), fmean(imports), overhead)
    return [name, *(f"{figure:.1f}" for figure in figures), f"{overhead * (1 - SHARE) / SHARE:,.0f}"]


def _seconds(job: dict[str, str | float]) -> tuple[float, float, float]:
    """Return the seconds in the queue, from the start to the first line, and of the imports."""
    command = ["sacct", "-nPX", "-j", str(job["job"]), "--format=Submit,Start"]
    said = subprocess.run(
        command, env=os.environ | {"SLURM_TIME_FORMAT": "%s"}, capture_output=True, text=True, check=True
    )
    submitted, started = map(float, said.stdout.split("|"))
    first, imported = float(job["first"]), float(job["imported"])
    return started - submitted, first - started, imported - first


if __name__ == "__main__":
    main()
