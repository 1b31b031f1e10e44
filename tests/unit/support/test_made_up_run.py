"""Tests of the made-up tables that the benchmark `scale` and tests of sizes use."""

from pathlib import Path

import made_up_run
import numpy as np

from icsd.core import tables
from icsd.core.ids import shard_names
from icsd.stages.groups import form_groups
from icsd.stages.sentences import select_sentences
from icsd.views.run import Run

COUNT, SHARDS, K = 800, 3, 5


def _run(folder: Path) -> Run:
    run = Run(folder, ["multi"], ["multi"], shard_names(SHARDS), [0], ["test"])
    made_up_run.write_groups(run, COUNT, K)
    made_up_run.write_summaries(run, "m", "abc")
    return run


def test_groups_are_those_that_the_stage_makes_of_the_neighbors(tmp_path: Path) -> None:
    run = _run(tmp_path)
    made_up_run.write_neighbors(run, COUNT, K)
    form_groups(run.neighbors.paths, tmp_path / "groups.parquet", SHARDS, tmp_path / "times.parquet")
    formed = tables.read(tmp_path / "groups.parquet", tables.GROUPS)
    assert formed.equals(run.groups.rows()) and len(formed) == COUNT * 79 // 80


def test_equal_sizes_give_equal_tables(tmp_path: Path) -> None:
    one = _run(tmp_path / "one").summaries.rows().sort_by("group_id")
    other = _run(tmp_path / "other").summaries.rows().sort_by("group_id")
    assert one.equals(other)
    usable = np.mean(np.array(one["status"].to_pylist()) == "ok")
    assert 0.9 < usable < 0.99


def test_pictures_are_those_of_the_selected_sentences(tmp_path: Path) -> None:
    run = _run(tmp_path)
    sentences = run.sentences("multi").paths[0]
    select_sentences("multi", run.summaries.paths, tmp_path, sentences, SHARDS, 100, 0.0, 0)
    made_up_run.write_pictures(run, "multi")
    for table in (run.images("multi"), run.safety("multi")):
        assert table.rows(["image_id"]).equals(run.sentences("multi").rows(["image_id"]))
