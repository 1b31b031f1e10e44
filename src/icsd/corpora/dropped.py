"""Records of a corpus that cannot be used: their ledger, and the share of them that is too large."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from icsd.core import tables
from icsd.core.errors import check_drop_share
from icsd.corpora.corpus import refuse
from icsd.corpora.entries import RecordError

LEDGER = "dropped.parquet"  # beside the table of captions; only where records were dropped
SHOWN = 10  # in the log
_log = logging.getLogger(__name__)


@dataclass
class DroppedRecords:
    """The reasons by file and record. With a `limit` of 0 the first such record is an error."""

    limit: float
    setting: str
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def drop(self) -> Callable[[RecordError], None]:
        """The function for `Corpus`."""
        return self._add if self.limit else refuse

    def _add(self, error: RecordError) -> None:
        if len(self.reasons) < SHOWN:
            _log.warning("dropped: %s, %s: %s", error.path, error.place, error.problem)
        self.reasons[f"{error.path}, {error.place}"] = error.problem

    def check(self, kept: int, path: Path) -> None:
        """Log the number of records; TooManyDroppedError if more than the share `limit` of all were dropped."""
        total = kept + len(self.reasons)
        if self.reasons:
            _log.warning("%s of %s records of the corpus are dropped", f"{len(self.reasons):,}", f"{total:,}")
        check_drop_share(
            self.reasons,
            total,
            items=f"records of {path}",
            setting=self.setting,
            limit=self.limit,
            hint="Mend or remove them",
        )

    def write(self, captions: Path) -> None:
        """Write the LEDGER beside the table of captions; without a dropped record there is none."""
        path = captions.with_name(LEDGER)
        rows = [
            {"stage": "captions", "item_id": item, "kept": False, "reason": reason}
            for item, reason in self.reasons.items()
        ]
        if rows:
            tables.write(path, tables.LEDGER, rows)
        else:
            path.unlink(missing_ok=True)
