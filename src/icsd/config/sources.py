"""Datasets of other runs that a training reads: the tables of their images, and what tells the ids of runs apart."""

from collections.abc import Sequence
from pathlib import Path

from icsd.config.arms import ARMS
from icsd.core.errors import ConfigError


def images_of(dataset: Path) -> list[str]:
    """Return the IMAGES tables of a finished run's dataset, results/<run>/dataset/<arm>; ConfigError if it has none."""
    run, arm = dataset.parents[1], ARMS[dataset.name].drawn_by
    if arm.photographs:
        found = [run / "pictures" / "real" / "images.parquet"]
    else:
        found = [path for path in (run / "images" / arm.name).rglob("*.parquet") if path.name != "sentences.parquet"]
    if not found or not all(path.exists() for path in [*found, dataset / "pairs.parquet"]):
        problem = f"captioner.also={dataset}: there are no pairs with images"
        raise ConfigError(
            f"{problem}: finish the run {run.name} first, or name another folder results/<run>/dataset/<arm>"
        )
    return sorted(map(str, found))


def prefixes(paths: Sequence[str], datasets: Sequence[Path]) -> dict[str, str]:
    """Return, for those of `paths` that belong to the runs of `datasets`, the prefix of their image ids."""
    runs = {dataset.parents[1] for dataset in datasets}
    return {path: f"{run.name}/" for path in paths for run in runs if run in Path(path).parents}
