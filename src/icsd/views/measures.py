"""Measures that several views show: the steps of a ledger, and what Snakemake measured of jobs."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa


@dataclass(frozen=True)
class FunnelStep:
    """The items that entered a step from captions to pairs, and those it dropped, by reason, most frequent first."""

    name: str
    entered: int
    dropped: Counter[str]

    @property
    def kept(self) -> int:
        """The number of items that passed the step."""
        return self.entered - self.dropped.total()


def funnel_steps(ledger: pa.Table) -> list[FunnelStep]:
    """The steps of a LEDGER, in its order; its columns `stage`, `kept` and `reason` are enough.

    A reason counts without the part after its colon, which differs from item to item.
    """
    entered, dropped = Counter[str](), dict[str, Counter[str]]()
    columns = ["stage", "kept", "reason"]
    # counted by pyarrow: a ledger has a row for every caption of the corpus
    for row in ledger.group_by(columns, use_threads=False).aggregate([([], "count_all")]).to_pylist():
        entered[row["stage"]] += row["count_all"]
        reasons = dropped.setdefault(row["stage"], Counter())
        if not row["kept"]:
            reasons[(row["reason"] or "").partition(":")[0] or "no reason"] += row["count_all"]
    return [FunnelStep(name, count, Counter(dict(dropped[name].most_common()))) for name, count in entered.items()]


@dataclass(frozen=True)
class Measured:
    """The time and memory of a job by its benchmark file; 0 for what could not be measured."""

    seconds: float
    cpu_seconds: float
    megabytes: float


def read_benchmark(path: Path) -> Measured:
    """The figures of a benchmark file; zeros if there is no such file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except FileNotFoundError:
        rows = []
    seconds, cpu_seconds = (sum(_number(row.get(name)) for row in rows) for name in ("s", "cpu_time"))
    return Measured(seconds, cpu_seconds, max((_number(row.get("max_rss")) for row in rows), default=0.0))


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:  # "NA" or "-"
        return 0.0
