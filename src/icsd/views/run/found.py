"""A run that is found by what is in its folder: the arms, shards, seeds and test sets that it has."""

from pathlib import Path

from icsd.config import ARMS
from icsd.core.errors import InputError
from icsd.core.ids import shard_names, shard_number
from icsd.views.run.folder import NO_TEST, RESULTS, Run

SHARD = "????-of-????.parquet"
SHOWN = 5  # runs named in a message
SHARDED = ("embeddings", "summaries", "images/*", "safety/*")  # folders of tables in shards


def found_run(folder: Path) -> Run:
    """The run whose tables lie in `folder`, as far as it has come; InputError where there is no such folder.

    Where a run was repeated with another number of shards, old tables lie beside the new ones: the newest file tells
    which shards count, in all tables. Where nothing tells arms, seeds or tests, those of the simplest run are expected.
    """
    if not folder.is_dir():
        raise InputError(folder, "", "there is no such folder", _other_runs())
    trained = folder.glob("captioner/*/seed-*")
    seeds = sorted({int(path.name.removeprefix("seed-")) for path in trained})
    tests = [path.name for path in sorted(folder.glob("pictures/*/")) if path.name not in NO_TEST]
    drawn = [arm for arm in ARMS if ARMS[arm].sentences and (folder / "images" / arm).is_dir()]
    return Run(
        folder, _found_arms(folder), drawn or ["multi"], _found_names(folder, *SHARDED), seeds or [0],
        tests or ["test"], _found_candidates(folder), (folder / "captions/guard.parquet").is_file(),
        (folder / "alignment").is_dir(), _found_names(folder, "groups/neighbors"),
    )  # fmt: skip


def _other_runs() -> str:
    """Return the way out where a run's folder is missing: the runs that there are, or how to make one."""
    runs = [str(path) for path in sorted(RESULTS.glob("*/")) if (path / "captions").is_dir()]
    if runs:
        more = f" and {len(runs) - SHOWN} more" if len(runs) > SHOWN else ""
        return f"give a run's folder with --results: here are {', '.join(runs[:SHOWN])}{more}"
    return "there are no runs here yet: type snakemake where the Snakefile is, or give a run's folder with --results"


def _found_candidates(folder: Path) -> int:
    numbers = [int(path.name.removeprefix("candidate-")) for path in folder.glob("images/*/candidate-*")]
    return max(numbers, default=0) + 1


def _found_arms(folder: Path) -> list[str]:
    stages = ("images", "dataset", "captioner", "evaluation")
    found = [arm for arm in ARMS if any((folder / stage / arm).is_dir() for stage in stages)]
    return found or ["multi"]


def _found_names(folder: Path, *names: str) -> list[str]:
    """The names of all shards of these tables."""
    found = [path for name in names for path in folder.glob(f"{name}/{SHARD}")]
    counts = {shard_number(path.stem)[1] for path in found}
    if len(counts) > 1:  # the times of thousands of files are slow to read
        newest = max(found, key=lambda path: (path.stat().st_mtime, path.stem))
        counts = {shard_number(newest.stem)[1]}
    return shard_names(counts.pop()) if counts else []
