"""A run's tables, as far as they are there."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import pyarrow as pa

from icsd.config import Config, load_config
from icsd.core import tables


@dataclass(frozen=True)
class Expected:
    """What a stage leaves behind: the files of a kind of table."""

    stage: str
    what: str
    table: tables.Table
    paths: tuple[Path, ...]

    @cached_property
    def there(self) -> list[Path]:
        """Those that exist."""
        return [path for path in self.paths if path.exists()]

    @property
    def missing(self) -> list[Path]:
        """Those that do not."""
        return [path for path in self.paths if path not in self.there]

    def read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of each that is there."""
        return tables.there(self.paths, self.table, columns)

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """The rows of all that are there."""
        schema = pa.schema([self.table.schema.field(name) for name in columns])
        return pa.concat_tables([schema.empty_table(), *self.read(columns)])


@dataclass(frozen=True)
class Run:
    """A run's folder, and the config that says what it is to hold."""

    path: Path
    config: Config

    @classmethod
    def of(cls, path: str, config: str) -> "Run":
        """From the folder, and the config as JSON."""
        return cls(Path(path), load_config(json.loads(config)))

    @property
    def arms(self) -> list[str]:
        """In the order of the config."""
        return list(self.config.arms)

    @property
    def drawn(self) -> list[str]:
        """The arms whose pictures are drawn."""
        return self.config.drawn_arms

    @cached_property
    def captions(self) -> Expected:
        """The corpus."""
        return self._files("captions", "captions", tables.CAPTIONS, ["captions/all"])

    @cached_property
    def groups(self) -> Expected:
        """Each caption with its nearest."""
        return self._files("groups", "groups", tables.GROUPS, ["groups/all"])

    @cached_property
    def group_times(self) -> Expected:
        """How many groups each caption is in."""
        return self._files("groups", "groups of each caption", tables.GROUP_TIMES, ["groups/group_times"])

    @cached_property
    def summaries(self) -> Expected:
        """What was made of the groups."""
        return self._sharded("summaries", "summaries", tables.SUMMARIES, "summaries")

    def images(self, arm: str) -> Expected:
        """The pictures of an arm."""
        return self._sharded("images", f"pictures of {arm}", tables.IMAGES, f"images/{arm}")

    def safety(self, arm: str) -> Expected:
        """The verdicts on them."""
        return self._sharded("safety", f"verdicts on those of {arm}", tables.SAFETY, f"safety/{arm}")

    def ledger(self, arm: str) -> Expected:
        """What became of every item of an arm."""
        return self._files("dataset", f"ledger of {arm}", tables.LEDGER, [f"dataset/{arm}/ledger"])

    def pairs(self, arm: str) -> Expected:
        """What an arm is trained on."""
        return self._files("dataset", f"pairs of {arm}", tables.PAIRS, [f"dataset/{arm}/pairs"])

    def history(self, arm: str, seed: int) -> Expected:
        """A training's losses."""
        name = f"captioner/{arm}/seed-{seed}/history"
        return self._files("captioner", f"training of {arm}, seed {seed}", tables.HISTORY, [name])

    @cached_property
    def scores(self) -> Expected:
        """Of every arm and seed on every test set; all that are there, before they are collected too."""
        each = product(self.arms, self.config.captioner.seeds, self.config.pictures.tests)
        names = [f"evaluation/{arm}/seed-{seed}/{test}/scores" for arm, seed, test in each]
        return self._files("evaluation", "scores", tables.SCORES, names)

    def all(self) -> list[Expected]:
        """Everything that the report is made of, in the order of the stages."""
        texts = [self.groups, self.group_times, self.summaries] if self.drawn else []
        of_pictures = [found for arm in self.drawn for found in (self.images(arm), self.safety(arm))]
        of_arms = [found for arm in self.arms for found in (self.ledger(arm), self.pairs(arm))]
        trainings = [self.history(*each) for each in product(self.arms, self.config.captioner.seeds)]
        return [self.captions, *texts, *of_pictures, *of_arms, *trainings, self.scores]

    def _sharded(self, stage: str, what: str, table: tables.Table, folder: str) -> Expected:
        return self._files(stage, what, table, [f"{folder}/{shard}" for shard in self.config.shard_names])

    def _files(self, stage: str, what: str, table: tables.Table, names: Sequence[str]) -> Expected:
        return Expected(stage, what, table, tuple(self.path / f"{name}.parquet" for name in names))
