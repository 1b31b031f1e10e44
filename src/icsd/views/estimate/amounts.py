"""Amounts of work, what is done of them, and where the figures come from."""

from dataclasses import dataclass, replace

import pyarrow as pa

CONFIG, TABLES, SAMPLE, CORPUS, GUESS = "config", "tables", "sample", "corpus", "guess"  # sources of a count


@dataclass(frozen=True)
class Amount:
    """A total, the part of it that is done, and the source of both figures."""

    total: float
    done: float = 0.0
    source: str = GUESS

    @property
    def left(self) -> float:
        """The part that is still to do."""
        return max(0.0, self.total - self.done)

    def times(self, rate: float) -> "Amount":
        """Convert to another unit, `rate` of it for each item."""
        source = self.source if self.source.endswith("rates") else f"{self.source} × rates"
        return Amount(self.total * rate, self.done * rate, source)

    def plus(self, total: float, done: float = 0.0) -> "Amount":
        """Add another total, of which `done` is done."""
        return replace(self, total=self.total + total, done=self.done + done)


@dataclass(frozen=True)
class Texts:
    """The captions: their number, their mean length, and, if there is a table, its ids and texts."""

    count: int
    characters: float
    source: str
    captions: pa.Table | None = None
