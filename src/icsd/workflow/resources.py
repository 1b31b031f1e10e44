"""The memory and minutes that a job requests: by the size of its input, and doubled after it ran short of them.

A rule has `mem_mb=jobs.memory(...)` and `runtime=jobs.minutes(...)`. Both return functions that Snakemake calls before
each attempt. They are resources, not params: a change reruns nothing.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from icsd.workflow.failures import FailureCause, failure_causes

LIMITS = ("most_mem_mb", "most_minutes")  # of a cluster's largest job, in profiles/slurm
GROWTH = 2  # the factor after each failure: a request is too large by half at most
MB, MINUTE_S = 1e6, 60.0
ResourceFunction = Callable[..., int]


@dataclass(frozen=True)
class Jobs:
    """The rules of a run's requests: `margin` times the minutes that the work should take, up to the cluster's limits.

    Only failures of the jobs of `run` count. `inside` a job, where Snakemake evaluates the functions again, they return
    their base. `gpu` is what a job requests that can use a GPU: 1 if this machine has one. A cluster's profile replaces
    it.
    """

    margin: float
    most_mem_mb: int | None = None
    most_minutes: int | None = None
    run: str | None = None
    inside: bool = False
    gpu: int = 0

    @classmethod
    def on_cluster(
        cls, margin: float, defaults: Mapping[str, Any] | None, *, inside: bool, run: str | None = None, gpu: int = 0
    ) -> "Jobs":
        """Take the limits most_mem_mb and most_minutes from Snakemake's default resources, if they are there."""
        limits = {name: each.value for name in LIMITS if (each := (defaults or {}).get(name)) is not None}
        return cls(margin, **limits, run=run, inside=inside, gpu=gpu)

    def memory(self, base: int, *, most: Mapping[str, int] | None = None, **inputs: float) -> ResourceFunction:
        """Request `base` MB, and for each named input a multiple of its size in memory, or of the bytes in `most`.

        `most` has what jobs hold at once of inputs that they read in parts.
        """
        limits = most or {}

        # Snakemake passes arguments by these names
        def mem_mb(wildcards: Sequence[str], input: Any, attempt: int, rulename: str) -> int:
            if self.inside:
                return base
            sizes = {name: min(_input_size(input, name).bytes, limits.get(name, sys.maxsize)) for name in inputs}
            tables = sum(times * sizes[name] for name, times in inputs.items()) / MB
            earlier = failure_causes(rulename, wildcards, attempt, self.run)
            return raised(base + tables, FailureCause.MEMORY, earlier, self.most_mem_mb)

        return mem_mb

    def minutes(
        self, base: int, *inputs: str, rate: float = math.inf, parts: int = 1, work: Callable[[int], float] = float
    ) -> ResourceFunction:
        """Request `base` minutes, and the time of the work at `rate` items a second.

        The items are the product of the named inputs' row counts, divided by `parts`; `work` maps rows to items.
        """

        def runtime(wildcards: Sequence[str], input: Any, attempt: int, rulename: str) -> int:
            if self.inside:
                return base
            items = work(math.prod(_input_size(input, name).rows for name in inputs)) if inputs else 0.0
            minutes = base + self.margin * items / parts / rate / MINUTE_S
            earlier = failure_causes(rulename, wildcards, attempt, self.run)
            return raised(minutes, FailureCause.TIME, earlier, self.most_minutes)

        return runtime


def raised(amount: float, cause: FailureCause, earlier: Sequence[FailureCause], limit: int | None = None) -> int:
    """Return the amount times GROWTH for each earlier failure of this cause, rounded up, and at most `limit`."""
    request = math.ceil(amount * GROWTH ** earlier.count(cause))
    return request if limit is None else min(request, limit)


@dataclass(frozen=True)
class Size:
    """The rows of a table and their bytes in memory; of another file, its bytes alone."""

    rows: int
    bytes: int


def _input_size(inputs: Any, name: str) -> Size:
    """Return the size of all files of an input; Snakemake shows the FileNotFoundError of a missing one as <TBD>."""
    files = getattr(inputs, name)
    sizes = [size_of(path) for path in ([files] if isinstance(files, str) else files)]
    return Size(sum(size.rows for size in sizes), sum(size.bytes for size in sizes))


def size_of(path: str) -> Size:
    """Return the size from a table's footer; a broken table counts by its bytes, as the job reports the damage."""
    about = Path(path).stat()
    return _size(path, about.st_mtime_ns, about.st_size)


@cache
def _size(path: str, _changed: int, length: int) -> Size:
    if not path.endswith(".parquet"):
        return Size(0, length)
    import pyarrow as pa  # late: a plan without jobs needs none
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return Size(0, length)
    return Size(footer.num_rows, sum(footer.row_group(n).total_byte_size for n in range(footer.num_row_groups)))
