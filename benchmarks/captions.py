"""Measure the memory of reading a text corpus into a table, and that of a tenth of it, in one run."""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

WORDS = "a man dog riding on the street with red ball woman two cats near table of food holding an umbrella".split()
READ = """
import resource, sys, time
from pathlib import Path
from icsd.stages.captions import read_captions
from icsd.corpora import Corpus
start, path, shards = time.monotonic(), Path(sys.argv[1]), int(sys.argv[2])
read_captions(Corpus((path,), split="train"), 1_000, path.parent / "all.parquet", shards)
print(time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    """Measure both sizes; print them and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=10_000_000, help="default: %(default)s")
    parser.add_argument("--shards", type=int, default=64, help="default: %(default)s")
    options = parser.parse_args()
    tenth, whole = (_measured(count, options.shards) for count in (options.captions // 10, options.captions))
    print(f"Ten times the captions take {whole / tenth:.2f} times the memory.")


def _measured(count: int, shards: int) -> float:
    """Return the peak memory, in MB, of a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path, rng = Path(folder) / "captions.txt", random.Random(0)
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{' '.join(rng.choices(WORDS, k=10))} {number}\n" for number in range(count))
        done = subprocess.run(
            [sys.executable, "-c", READ, path, str(shards)], capture_output=True, text=True, check=True
        )
    seconds, peak = map(float, done.stdout.split())
    print(f"{count:,} captions, {shards} shards: {seconds:,.1f} s, {peak:,.0f} MB peak", flush=True)
    return peak


if __name__ == "__main__":
    main()
