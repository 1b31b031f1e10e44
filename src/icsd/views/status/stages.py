"""The jobs of each stage, with what each writes: what the rules say, in a form that needs no Snakemake."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from icsd.config import ARMS, Config
from icsd.core import tables
from icsd.core.tables import Table


@dataclass(frozen=True)
class StageJob:
    """A job: its rule and wildcards, and the paths below the run's folder of its output, log and benchmark.

    `table` is what the output is, where its rows are the stage's items.
    """

    rule: str
    wildcards: Sequence[str]
    output: str
    name: str  # of log and benchmark, without their suffixes
    table: Table | None = None

    @property
    def what(self) -> str:
        """What the executor calls it in the queue."""
        return "_wildcards_".join([f"rule_{self.rule}", *(["_".join(self.wildcards)] if self.wildcards else [])])


def stages(config: Config) -> Iterator[tuple[str, list[StageJob]]]:
    """The stages of the default target, in the order of the work."""
    shards, arms, drawn = config.shard_names, config.arms, config.drawn_arms
    yield "captions", [StageJob("read_captions", (), "captions/all.parquet", "read_captions", tables.CAPTIONS)]
    yield "embeddings", _sharded("embed_captions", "embeddings", shards, tables.EMBEDDINGS)
    groups = _sharded("find_neighbors", "groups/neighbors", shards, tables.NEIGHBORS)
    yield "groups", [*groups, StageJob("form_groups", (), "groups/group_times.parquet", "form_groups")]
    yield "summaries", _sharded("summarize_groups", "summaries", shards, tables.SUMMARIES) if drawn else []
    for stage, rule, table in (("images", "generate_images", tables.IMAGES), ("safety", "check_safety", tables.SAFETY)):
        yield stage, [_of_arm(stage, rule, arm, shard, table) for arm, shard in product(drawn, shards)]
    yield "dataset", [_dataset(arm) for arm in dict.fromkeys([*drawn[:1], *arms])]
    yield "captioner", [_training(arm, seed) for arm, seed in product(arms, config.captioner.seeds)]
    yield (
        "evaluation",
        [
            _predicting(arm, seed, test)
            for arm, seed, test in product(arms, config.captioner.seeds, config.pictures.tests)
        ],
    )


def _sharded(rule: str, folder: str, shards: Sequence[str], table: Table) -> list[StageJob]:
    return [StageJob(rule, (shard,), f"{folder}/{shard}.parquet", f"{rule}/{shard}", table) for shard in shards]


def _of_arm(stage: str, rule: str, arm: str, shard: str, table: Table) -> StageJob:
    return StageJob(rule, (arm, shard), f"{stage}/{arm}/{shard}.parquet", f"{rule}/{arm}/{shard}", table)


def _dataset(arm: str) -> StageJob:
    output = f"dataset/{arm}/pairs.parquet"
    if ARMS[arm].photographs:
        return StageJob("build_real_dataset", (), output, "build_real_dataset", tables.PAIRS)
    return StageJob("build_dataset", (arm,), output, f"build_dataset/{arm}", tables.PAIRS)


def _training(arm: str, seed: int) -> StageJob:
    name = f"train_captioner/{arm}-seed-{seed}"
    return StageJob("train_captioner", (arm, str(seed)), f"captioner/{arm}/seed-{seed}/history.parquet", name)


def _predicting(arm: str, seed: int, test: str) -> StageJob:
    output = f"evaluation/{arm}/seed-{seed}/{test}/predictions.parquet"
    name = f"predict_captions/{arm}-seed-{seed}-{test}"
    return StageJob("predict_captions", (arm, str(seed), test), output, name, tables.PREDICTIONS)
