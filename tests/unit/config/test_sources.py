"""Datasets of other runs."""

from pathlib import Path

import pytest

from icsd.config.sources import images_of, prefixes
from icsd.core.errors import ConfigError


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_images_are_those_of_the_arm_that_draws_with_all_candidates(tmp_path: Path) -> None:
    run = tmp_path / "results" / "other"
    drawn = [run / "images/multi/0000-of-0001.parquet", run / "images/multi/candidate-1/0000-of-0001.parquet"]
    sentences = [run / "images/multi/sentences.parquet", run / "images/multi/candidate-1/sentences.parquet"]
    real, single = run / "pictures/real/images.parquet", run / "images/single/0000-of-0001.parquet"
    _touch(*drawn, *sentences, real, single, *(run / f"dataset/{arm}/pairs.parquet" for arm in ("multi_head", "real")))
    assert images_of(run / "dataset/multi_head") == sorted(map(str, drawn))
    assert images_of(run / "dataset/real") == [str(real)]
    with pytest.raises(ConfigError, match=r"captioner\.also=.*/dataset/single: there are no pairs with images: finish"):
        images_of(run / "dataset/single")


def test_tables_of_other_runs_have_the_runs_name_before_their_ids() -> None:
    dataset = Path("results/other/dataset/multi")
    paths = [
        str(dataset / "pairs.parquet"),
        "results/other/images/multi/a.parquet",
        "results/own/images/multi/a.parquet",
    ]
    assert prefixes(paths, [dataset]) == dict.fromkeys(paths[:2], "other/")
    assert prefixes(paths, []) == {}
