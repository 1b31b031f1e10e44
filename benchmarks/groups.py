"""Compare icsd's exact search for neighbours with faiss, in time and memory, in one run.

Both get the same vectors and threads. faiss.IndexFlatIP answers half of its queries before icsd's search and half after
it, so that other work on the machine affects both. Then come the memory at two sizes and the recall of the approximate
indexes. The benchmark fails only if the exact answers differ.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import faiss
import numpy as np
import pyarrow as pa
import torch

from icsd.config import GroupsConfig
from icsd.core.tables import EMBEDDINGS, write
from icsd.core.text import markdown_table
from icsd.core.vectors import to_lists, unit_on_grid
from icsd.models import neighbors
from icsd.stages.groups import index_captions, measure_recall

MEMBERS = 50  # captions around a centre
SAME = 2e-6  # similarities that float32 cannot tell apart at 512 dimensions
MIB = 1 << 20
T = TypeVar("T")


def captions_of(count: int, width: int, clustered: bool) -> np.ndarray:
    """Return unit vectors [count, width]: uniform, or clustered as captions are (common part, centres, directions)."""
    rng = np.random.default_rng(0)
    if not clustered:
        return unit_on_grid(rng.standard_normal((count, width), dtype=np.float32))
    directions = rng.standard_normal((width // 5, width), dtype=np.float32) / np.sqrt(np.float32(width))
    centres = rng.standard_normal((max(1, count // MEMBERS), width // 5), dtype=np.float32)
    points = centres[rng.integers(0, len(centres), count)]
    points += 0.6 * rng.standard_normal(points.shape, dtype=np.float32)
    common = 10 * rng.standard_normal(width, dtype=np.float32) / np.sqrt(np.float32(width))
    rest = 3 * rng.standard_normal((count, width), dtype=np.float32) / np.sqrt(np.float32(width))
    return unit_on_grid(points @ directions + common + rest)


def timed(work: Callable[[], T]) -> tuple[T, float, float]:
    """Return the result of the work, its seconds and its CPU seconds."""
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - start, time.process_time() - cpu


def side_by_side(vectors: np.ndarray, k: int) -> tuple[list[list[str]], str]:
    """Return rows of the table of times, and a sentence on how far the answers agree."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    halves = np.array_split(vectors, 2)
    (_, first), first_s, first_cpu = timed(lambda: index.search(halves[0], k))
    exact, icsd_s, icsd_cpu = timed(lambda: neighbors.nearest(vectors, vectors, k))
    (_, second), second_s, second_cpu = timed(lambda: index.search(halves[1], k))
    faiss_s, faiss_cpu = first_s + second_s, first_cpu + second_cpu
    rows = [
        ["faiss.IndexFlatIP", f"{faiss_s:.1f}", f"{faiss_cpu:.1f}", "1", "1"],
        ["icsd", f"{icsd_s:.1f}", f"{icsd_cpu:.1f}", f"{faiss_s / icsd_s:.2f}", f"{faiss_cpu / icsd_cpu:.2f}"],
    ]
    return rows, agreement(vectors, exact, np.concatenate([first, second]))


def agreement(vectors: np.ndarray, exact: neighbors.Nearest, other: np.ndarray) -> str:
    """Say how many sets are equal and how far the others differ; SystemExit beyond float32's error."""
    differ = np.flatnonzero((np.sort(exact.columns, 1) != np.sort(other, 1)).any(1))
    short = [
        exact.similarities[row, -1] - (vectors[other[row]].astype(np.float64) @ vectors[row].astype(np.float64)).min()
        for row in differ
    ]
    most = max(short, default=0.0)
    if not 0 <= most < SAME:
        raise SystemExit(f"The answers differ by {most:.2g} in similarity, more than the {SAME} of float32.")
    return (
        f"{len(other) - len(differ):,} of {len(other):,} sets of neighbours are equal; in the others faiss's last is "
        f"at most {most:.1g} less similar than the exact one."
    )


def memory(vectors: np.ndarray, k: int, threads: int) -> list[list[str]]:
    """Return rows of the table of memory: a search in its own process at a quarter and at half of the captions."""
    rows = []
    for count in (len(vectors) // 4, len(vectors) // 2):
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / "vectors.npy", vectors[:count])
            command = [sys.executable, __file__, "--search", f"{folder}/vectors.npy"]
            command += ["--k", str(k), "--threads", str(threads)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        beyond = json.loads(output)["beyond"]
        stored = vectors[:count].nbytes
        rows.append([f"{count:,}", f"{stored / MIB:,.0f}", f"{beyond / MIB:,.0f}", f"{beyond / stored:.2f}"])
    return rows


def search_alone(path: str, k: int) -> None:
    """Print the peak memory beyond that after reading the vectors and warming up the libraries."""
    vectors = np.load(path)
    neighbors.nearest(vectors[:64].copy(), vectors[:64].copy(), 2)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _peak()
    neighbors.nearest(vectors, vectors, k)
    print(json.dumps({"beyond": _peak() - before}))


def _peak() -> int:
    """Return the peak resident bytes (Linux). getrusage would count the parent's as well."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def approximate(vectors: np.ndarray, k: int) -> list[list[str]]:
    """Return rows of the table of indexes: the recall of each with the config's settings."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        embeddings, report = folder / "embeddings.parquet", folder / "recall.json"
        write(embeddings, EMBEDDINGS, _table(vectors))
        for kind in ("ivf", "hnsw"):
            settings = GroupsConfig(index=kind).approximate or {}
            index = folder / kind
            _, seconds, _ = timed(partial(index_captions, [embeddings], index, kind, settings))
            measure_recall([embeddings], index, report, k, 1000, settings)
            recall = json.loads(report.read_text())["recall"]
            rows.append(
                [kind, ", ".join(f"{key} {value}" for key, value in settings.items()), f"{seconds:.1f}", str(recall)]
            )
    return rows


def _table(vectors: np.ndarray) -> pa.Table:
    return pa.table({"caption_id": np.arange(len(vectors)), "embedding": to_lists(vectors)})


def main(words: Sequence[str] | None = None) -> None:
    """Measure; print the tables."""
    args = _arguments(words)
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    if args.search:
        search_alone(args.search, args.k)
        return
    vectors = captions_of(args.captions, args.dimensions, clustered=not args.random)
    units = "bfloat16" if neighbors.has_bfloat16("cpu") else "float32"
    print(
        f"{args.captions:,} captions x {args.dimensions}, k {args.k}, {args.threads} threads, products in {units}; "
        f"load {os.getloadavg()[0]:.1f}\n"
    )
    rows, agreed = side_by_side(vectors, args.k)
    print("\n".join(markdown_table(["search", "seconds", "CPU s", "times faiss", "by CPU s"], rows)), f"\n\n{agreed}\n")
    rows = memory(vectors, args.k, args.threads)
    print("\n".join(markdown_table(["captions", "vectors, MiB", "more, MiB", "ratio"], rows)), "\n")
    if args.approximate:
        rows = approximate(vectors[: args.approximate], args.k)
        print(f"{min(args.approximate, args.captions):,} captions:\n")
        print("\n".join(markdown_table(["index", "settings", "seconds to build", "recall"], rows)))


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--captions", type=int, default=202_654, help="number of captions (default: that of COCO val2014)"
    )
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--k", type=int, default=30)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--random", action="store_true", help="vectors without clusters")
    parser.add_argument("--approximate", type=int, default=30_000, help="captions for ivf and hnsw; 0 skips them")
    parser.add_argument("--search", help=argparse.SUPPRESS)  # in its own process, whose memory is measured
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
