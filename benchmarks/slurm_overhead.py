"""What a job on a cluster costs beside its work: seconds from submission to the first line of work, and of imports.

    python benchmarks/slurm_overhead.py                                    # on a cluster, where the Snakefile is
    python tests/slurm/cluster.py python benchmarks/slurm_overhead.py      # on that of the tests

Jobs of this project's Snakefile and profile, one at a time, so that none waits for another or shares its processors.
Each writes down when its first line ran and when it had imported what a stage's jobs import. How long it waited in
the queue is the accounting's, in whole seconds; on a busy cluster that is anything, and is left out of the sum.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean

from icsd.core.text import markdown_table

ROOT = Path(__file__).parents[1]
LINKED = ("config", "profiles", "slurm", "resources", "rules", "scripts", "envs")
SHARE = 0.05  # of a job's time, that may be overhead
STAGES = {  # what the jobs of a stage import: their adapter's modules, and the backend that it calls
    "tables alone (dataset)": ["icsd.stages.dataset"],
    "summaries by an endpoint": ["icsd.stages.summaries", "icsd.llm.client"],
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
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repetitions", type=int, default=3, metavar="N", help="jobs of each kind (default: %(default)s)"
    )
    options = parser.parse_args()
    # where nodes see it too, which they need not see of /tmp
    with tempfile.TemporaryDirectory(prefix="slurm-overhead-", dir=ROOT / "results") as folder:
        _run(Path(folder), options.repetitions)
        rows = [_row(name, Path(folder), number) for number, name in enumerate(STAGES)]
    head = ["job", "in the queue", "to its first line", "imports", "together", f"work that makes it {SHARE:.0%}"]
    print("\n".join(markdown_table(head, rows)))
    print(
        f"\nSeconds, means of {options.repetitions} jobs; {os.cpu_count()} processors, load {os.getloadavg()[1]:.1f}."
    )


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
    """In the queue, from the start to the first line, and until all was imported."""
    command = ["sacct", "-nPX", "-j", str(job["job"]), "--format=Submit,Start"]
    said = subprocess.run(
        command, env=os.environ | {"SLURM_TIME_FORMAT": "%s"}, capture_output=True, text=True, check=True
    )
    submitted, started = map(float, said.stdout.split("|"))
    first, imported = float(job["first"]), float(job["imported"])
    return started - submitted, first - started, imported - first


if __name__ == "__main__":
    main()
