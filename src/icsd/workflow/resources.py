"""What a rule's job asks a cluster for: memory and minutes, by the size of its input, and more where it died of them.

In a rule `mem_mb=jobs.memory(...)` and `runtime=jobs.minutes(...)`. Snakemake calls what these return before each
attempt. They are resources, not params: to change them reruns nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from icsd.workflow.failures import Death, deaths

LIMITS = ("most_mem_mb", "most_minutes")  # of a cluster's largest job, in profiles/slurm
GROWTH = 2  # so many times as much for each death of too little: too much by half at most, and soon enough
MB, MINUTE_S = 1e6, 60.0
Asked = Callable[..., int]


@dataclass(frozen=True)
class Jobs:
    """How jobs ask: for `margin` times the minutes that the work should take, and never for more than the cluster has.

    `run` is whose jobs' deaths count. `inside` a job, where Snakemake asks once more what was asked for, nothing is
    looked up.
    """

    margin: float
    most_mem_mb: int | None = None
    most_minutes: int | None = None
    run: str | None = None
    inside: bool = False

    @classmethod
    def on_cluster(
        cls, margin: float, defaults: Mapping[str, Any] | None, *, inside: bool, run: str | None = None
    ) -> "Jobs":
        """With the limits most_mem_mb and most_minutes, where they are among Snakemake's default resources."""
        limits = {name: each.value for name in LIMITS if (each := (defaults or {}).get(name)) is not None}
        return cls(margin, **limits, run=run, inside=inside)

    def memory(self, base: int, **inputs: float) -> Asked:
        """MB: `base`, and so many times the size in memory of each input named."""

        # Snakemake hands over arguments by these names
        def mem_mb(wildcards: Sequence[str], input: Any, attempt: int, rulename: str) -> int:
            if self.inside:
                return base
            tables = sum(times * _total(input, name).bytes for name, times in inputs.items()) / MB
            return grown(base + tables, Death.MEMORY, deaths(rulename, wildcards, attempt, self.run), self.most_mem_mb)

        return mem_mb

    def minutes(
        self, base: int, *inputs: str, rate: float = math.inf, parts: int = 1, work: Callable[[int], float] = float
    ) -> Asked:
        """Minutes: `base` to start, and for the work at `rate` items a second.

        The items are a row of each input named, one of `parts` of them all; `work` makes of the rows what is counted.
        """

        def runtime(wildcards: Sequence[str], input: Any, attempt: int, rulename: str) -> int:
            if self.inside:
                return base
            items = work(math.prod(_total(input, name).rows for name in inputs)) if inputs else 0.0
            minutes = base + self.margin * items / parts / rate / MINUTE_S
            return grown(minutes, Death.TIME, deaths(rulename, wildcards, attempt, self.run), self.most_minutes)

        return runtime


def grown(amount: float, death: Death, earlier: Sequence[Death], most: int | None = None) -> int:
    """The amount, GROWTH times as much for each earlier `death`, but `most` at the most; rounded up."""
    asked = math.ceil(amount * GROWTH ** earlier.count(death))
    return asked if most is None else min(asked, most)


@dataclass(frozen=True)
class Size:
    """Rows of a table and the bytes that they take in memory; of another file its bytes."""

    rows: int
    bytes: int


def _total(given: Any, name: str) -> Size:
    """Of all files of an input; FileNotFoundError, which Snakemake shows as <TBD>, where one is not there yet."""
    files = getattr(given, name)
    sizes = [size_of(path) for path in ([files] if isinstance(files, str) else files)]
    return Size(sum(size.rows for size in sizes), sum(size.bytes for size in sizes))


def size_of(path: str) -> Size:
    """By a table's footer; a broken one counts by its bytes, for it is the job that tells of it."""
    about = Path(path).stat()
    return _size(path, about.st_mtime_ns, about.st_size)


@cache
def _size(path: str, _changed: int, length: int) -> Size:
    if not path.endswith(".parquet"):
        return Size(0, length)
    import pyarrow as pa  # late: a plan in which nothing is left to do needs none
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return Size(0, length)
    return Size(footer.num_rows, sum(footer.row_group(n).total_byte_size for n in range(footer.num_row_groups)))
