"""Steps from captions to pairs: the items that enter each, and the reasons of those that it drops."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from icsd.core import tables

NO_REASON = "no reason"


@dataclass(frozen=True)
class Step:
    """The items that entered a stage, and the reason of each that it dropped, null for a kept one; texts [n]."""

    stage: str
    entered: pa.Array
    reasons: pa.Array

    def __post_init__(self) -> None:
        if len(self.reasons) != len(self.entered) or pc.count_distinct(self.entered).as_py() != len(self.entered):
            raise ValueError(f"{self.stage}: input must be kept + dropped, each item once")

    @property
    def kept(self) -> pa.Array:
        """The items that the stage kept, in their order."""
        return self.entered.filter(self.reasons.is_null())

    @property
    def dropped(self) -> dict[str, str]:
        """The reasons by item: Python's own objects, for messages."""
        lost = self.reasons.is_valid()
        return dict(zip(self.entered.filter(lost).to_pylist(), self.reasons.filter(lost).to_pylist(), strict=True))

    @property
    def ledger(self) -> pa.Table:
        """The rows of LEDGER."""
        stage = pa.repeat(pa.scalar(self.stage), len(self.entered))
        columns = [stage, self.entered, self.reasons.is_null(), self.reasons]
        return pa.Table.from_arrays(columns, schema=tables.LEDGER.schema)

    def __str__(self) -> str:
        return f"{self.stage}: {self.reasons.null_count:,} of {len(self.entered):,} kept"


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    return column.combine_chunks()


def or_no_reason(reasons: pa.Array) -> pa.Array:
    """The reasons of dropped items, of which some may be missing or empty."""
    return pc.if_else(pc.equal(reasons.fill_null(""), ""), NO_REASON, reasons)


def scattered(reasons: list[str], lost: pa.Array) -> pa.Array:
    """The `reasons` of the items that are `lost`, in their order; null for the others."""
    mask = pc.fill_null(lost, False)
    places = pc.if_else(mask, pc.subtract(pc.cumulative_sum(mask.cast(pa.int64())), 1), None)
    return pa.array(reasons, pa.string()).take(places)
