"""The memory of jobs that see a whole table: columns, and no Python object for each row."""

import tracemalloc
from collections.abc import Callable

import made_up_run
import pytest

from icsd.config import AlignmentConfig
from icsd.core import tables
from icsd.core.ids import shard_names
from icsd.stages.dataset.building import DrawnTables, build_dataset
from icsd.stages.sentences import select_sentences
from icsd.views.run import Run

CAPTIONS, SHARDS, K = 4_000, 3, 15


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run up to the verdicts on its pictures, with about 30,000 pairs."""
    run = Run(tmp_path_factory.mktemp("run"), ["multi"], ["multi"], shard_names(SHARDS), [0], ["test"])
    made_up_run.write_captions(run, CAPTIONS, 4)
    made_up_run.write_groups(run, CAPTIONS, K)
    made_up_run.write_summaries(run, "m", "abc")
    _select(run)
    made_up_run.write_pictures(run, "multi")
    return run


def _select(run: Run) -> None:
    captions, sentences = run.captions.paths[0], run.sentences("multi").paths[0]
    select_sentences("multi", run.summaries.paths, captions, sentences, SHARDS, CAPTIONS, 0.0, 0)


def _build(run: Run) -> None:
    drawn = DrawnTables(
        run.captions.paths[0], run.summaries.paths, run.sentences("multi").paths, run.images("multi").paths,
        run.safety("multi").paths,
    )  # fmt: skip
    build_dataset("multi", drawn, run.pairs("multi").paths[0], run.ledger("multi").paths[0], 0.1, AlignmentConfig())


def _peak(work: Callable[[], None]) -> int:
    """The peak of Python's and numpy's bytes; Arrow's are not counted. A row as a dictionary has 300 and more."""
    work()  # imports and caches
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_dataset_has_no_object_for_each_pair(run: Run) -> None:
    peak = _peak(lambda: _build(run))
    pairs = tables.count(run.pairs("multi").paths[0], tables.PAIRS)
    assert pairs > 25_000
    assert peak < 100 * pairs
    print("BUILD", peak, peak / pairs)


def test_sentences_have_no_object_for_each_caption(run: Run) -> None:
    peak = _peak(lambda: _select(run))
    print("SELECT", peak, peak / CAPTIONS)
    assert peak < 300 * CAPTIONS
