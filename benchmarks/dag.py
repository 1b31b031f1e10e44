"""Measure the planning of a run of COCO's size: a dry run of config/runs/coco.yaml at several numbers of shards.

A temporary folder has annotations in Karpathy's layout; the plan does not depend on the number of captions in them.
Time and memory are those of the whole process. The CPU seconds for 1,000 jobs show whether the cost grows linearly.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from icsd.core.text import markdown_table

ROOT = Path(__file__).parents[1]
COCO = "config/runs/coco.yaml"


def write_overlay(folder: Path, shards: int) -> Path:
    """Write an overlay for COCO's run with this number of shards, and annotations that exist."""
    annotations = folder / "dataset_coco.json"
    sentence = {"raw": "A dog runs.", "tokens": ["a", "dog", "runs"], "sentid": 1, "imgid": 0}
    image = {"filepath": "val2014", "filename": "1.jpg", "imgid": 0, "cocoid": 1, "split": "train", "sentids": [1]}
    annotations.write_text(json.dumps({"images": [image | {"sentences": [sentence]}], "dataset": "coco"}))
    overlay = folder / "overlay.yaml"
    named = {"annotations": str(annotations)}
    pictures = {"val": named, "test": named}
    overlay.write_text(yaml.safe_dump({"shards": shards, "captions": named, "pictures": pictures}))
    return overlay


def plan(shards: int) -> list[str]:
    """Return a row: shards, jobs, seconds, CPU seconds, CPU seconds for 1,000 jobs, and peak memory in MiB."""
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    with tempfile.TemporaryDirectory() as folder:
        overlay = write_overlay(Path(folder), shards)
        said = Path(folder) / "said.txt"
        begin = time.monotonic()
        with said.open("w") as out:
            command = [snakemake, "-n", "--quiet", "rules", "--configfile", COCO, str(overlay)]
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
            _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        text = said.read_text()
    if status:
        raise SystemExit(text)
    jobs = int(re.findall(r"^total +(\d+)", text, re.MULTILINE)[-1])
    busy = used.ru_utime + used.ru_stime
    cells = (f"{seconds:.1f}", f"{busy:.1f}", f"{1000 * busy / jobs:.2f}", f"{used.ru_maxrss / 1024:,.0f}")
    return [f"{shards:,}", f"{jobs:,}", *cells]


def main() -> None:
    """Plan at each number of shards; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[600, 6_000])
    header = ["shards", "jobs", "seconds", "CPU seconds", "CPU seconds for 1,000 jobs", "peak MiB"]
    print(*markdown_table(header, [plan(shards) for shards in parser.parse_args().shards], left=0), sep="\n")


if __name__ == "__main__":
    main()
