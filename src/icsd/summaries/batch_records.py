"""What is known of batches that were paid for and whose replies are not in the store yet.

A folder with one JSON file a batch: written before the batch is submitted, again when the server has told its id, and
deleted when its replies are durable. Whoever comes later finds in it what is under way, whichever job sent it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from icsd.files import atomic_path
from icsd.summaries.budget import Prices


@dataclass(frozen=True)
class Record:
    """A batch. `name` is our own and in the batch's metadata; `batch` is the server's id, None until it is known."""

    name: str
    run: str  # that pays for it
    base_url: str
    model: str
    prices: Prices
    most_usd: Mapping[str, float]  # what each request may cost at most, by key: so much is reserved
    tokens: int  # of all prompts, estimated
    at: float  # seconds since 1970
    batch: str | None = None


@dataclass(frozen=True)
class Records:
    """The records in a folder, which need not exist yet."""

    folder: Path

    def write(self, record: Record) -> None:
        """Write or replace; durable when this returns."""
        with atomic_path(self._path(record)) as path:
            path.write_text(json.dumps(asdict(record)))
            _sync(path)
        _sync(self.folder)

    def open(self) -> list[Record]:
        """All of them, the oldest first."""
        found = (_read(path) for path in self.folder.glob("*.json"))
        return sorted((record for record in found if record), key=lambda record: (record.at, record.name))

    def holds(self, record: Record) -> bool:
        """False once its replies are in the store."""
        return self._path(record).exists()

    def close(self, record: Record) -> bool:
        """Delete it; True for one job only, however many do so at once."""
        try:
            self._path(record).unlink()
        except FileNotFoundError:
            return False
        return True

    def _path(self, record: Record) -> Path:
        return self.folder / f"{record.name}.json"


def _read(path: Path) -> Record | None:
    """None where another job has just closed it."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return Record(**{**values, "prices": Prices(**values["prices"])})


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
