"""Where the tables of a run lie, of one that is half done too."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from icsd.config import ARMS, DRAWN_ARMS
from icsd.core import tables
from icsd.core.errors import InputError

SHARD = "????-of-????.parquet"
NO_TESTS = {"real", "val"}  # pictures that are no test set


@dataclass(frozen=True)
class Run:
    """What a run has, or will have when it is done."""

    folder: Path
    arms: Sequence[str]
    drawn: Sequence[str]  # the arms that have pictures of their own; multi_head has those of multi
    shards: Sequence[str]
    seeds: Sequence[int]
    tests: Sequence[str]

    @property
    def captioners(self) -> list[tuple[str, int]]:
        """The arm and the seed of each training."""
        return [(arm, seed) for arm in self.arms for seed in self.seeds]

    def file(self, name: str) -> list[Path]:
        """One table."""
        return [self.folder / f"{name}.parquet"]

    def of_shards(self, name: str) -> list[Path]:
        """A table in as many files as there are shards."""
        return [self.folder / name / f"{shard}.parquet" for shard in self.shards]


def found_run(folder: Path) -> Run:
    """The run whose tables lie in `folder`, as far as it has come; InputError where there is no such folder.

    A run made anew with another number of shards leaves its old tables behind: the newest ones count.
    """
    if not folder.is_dir():
        raise InputError(folder, "", "there is no such folder", "give a run's folder with --results")
    captioners = list(folder.glob("captioner/*/seed-*"))
    seeds = sorted({int(path.name.removeprefix("seed-")) for path in captioners})
    tests = [path.name for path in sorted(folder.glob("pictures/*/")) if path.name not in NO_TESTS]
    drawn = [arm for arm in DRAWN_ARMS if (folder / "images" / arm).is_dir()]
    return Run(folder, _arms(folder), drawn or ["multi"], _shards(folder), seeds or [0], tests or ["test"])


def _arms(folder: Path) -> list[str]:
    """Those of which anything is there; a run that has come to none is to draw pictures of multi at least."""
    places = ("images", "dataset", "captioner", "evaluation")
    found = [arm for arm in ARMS if any((folder / place / arm).is_dir() for place in places)]
    return found or ["multi"]


def _shards(folder: Path) -> list[str]:
    found = [path for name in ("embeddings", "summaries", "images/*") for path in folder.glob(f"{name}/{SHARD}")]
    if not found:
        return []
    newest = max(found, key=lambda path: (path.stat().st_mtime, path.stem))
    count = int(newest.stem.rpartition("-of-")[2])
    return [f"{number:04d}-of-{count:04d}" for number in range(count)]


@dataclass(frozen=True)
class Shelf:
    """Reads tables that may not be there yet, and keeps account of those that are not."""

    folder: Path
    asked: dict[Path, bool] = field(default_factory=dict)

    def read(self, paths: Iterable[Path], table: tables.Table, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of those that are there; errors as `tables.read`."""
        found = [tables.read(path, table, columns) for path in self.there(paths)]
        names = list(columns) if columns else table.schema.names
        return pa.concat_tables([table.schema.empty_table().select(names), *found])

    def of(self, paths: Iterable[Path], table: tables.Table, key: str, wanted: Iterable[int | str]) -> pa.Table:
        """The rows whose `key` is one of those wanted; one file is in memory at a time."""
        values = pa.array(list(wanted), table.schema.field(key).type)
        found = (tables.read(path, table) for path in self.there(paths))
        kept = [rows.filter(pc.is_in(rows[key], value_set=values)) for rows in found]
        return pa.concat_tables([table.schema.empty_table(), *kept])

    def there(self, paths: Iterable[Path]) -> list[Path]:
        """Those that are there."""
        self.asked.update({path: path.is_file() for path in paths})
        return [path for path in paths if self.asked[path]]

    def missing(self) -> list[str]:
        """For people: the tables that are not there yet; of the shards of a table, how many."""
        wanted: dict[Path, list[Path]] = {}
        for path in self.asked:
            wanted.setdefault(path.parent if path.match(SHARD) else path, []).append(path)
        gone = {place: [path for path in paths if not self.asked[path]] for place, paths in wanted.items()}
        return [self._words(place, gone[place], len(wanted[place])) for place in wanted if gone[place]]

    def _words(self, place: Path, gone: Sequence[Path], wanted: int) -> str:
        name = place.relative_to(self.folder).as_posix()
        if gone == [place]:
            return name
        such = "" if len(gone) == wanted else f": {', '.join(path.stem for path in gone[:3])}{' …' * (len(gone) > 3)}"
        return f"{name}/: {len(gone):,} of {wanted:,} shards{such}"
