"""The stream of a training: its order and pixels depend on seed and step alone, and its pairs take little memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from captioner_world import job_of, settings_of, write_world

from icsd.config import CaptionerConfig
from icsd.core import tables
from icsd.core.errors import InputError
from icsd.stages.captioner.data import read_pairs
from icsd.stages.captioner.job import Files
from icsd.stages.captioner.processes import Processes
from icsd.stages.captioner.steps import Part, Setup
from icsd.stages.captioner.stream import _epoch_order, step_rows, stream
from icsd.stages.captioner.training import prepare


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_world(tmp_path)


@pytest.fixture
def settings(captioner_folder: Path) -> CaptionerConfig:
    """Five steps of six of the eight pairs."""
    return settings_of(captioner_folder).model_copy(
        update={"steps": 5, "batch_size": 6, "batch_parts": 2, "flip": True}
    )


CROPS: list[dict[str, Any]] = [{}, {"crop": 0.5, "crop_from": "picture"}]


def setup_of(files: Files, settings: CaptionerConfig) -> Setup:
    return prepare(job_of(files, settings), Processes())[0].setup


def seen(part: Part) -> list[Any]:
    """All that a part is computed from."""
    boxes = [] if part.boxes is None else part.boxes.tolist()
    views = [] if part.views is None else part.views.tolist()
    return [part.rows.tolist(), part.tokens.ids.tolist(), boxes, views, part.seed, part.pixels.tolist()]


def steps_of(setup: Setup, start: int = 0, workers: int = 0) -> list[list[Any]]:
    return [[seen(part) for part in parts] for parts in stream(setup, start, workers)]


@pytest.mark.parametrize("crops", CROPS)
def test_workers_processes_and_the_start_change_nothing(
    files: Files, settings: CaptionerConfig, crops: dict[str, Any]
) -> None:
    setup = setup_of(files, settings.model_copy(update=crops))
    alone = steps_of(setup)
    assert [len(parts) for parts in alone] == [2] * 5
    assert sorted(row for parts in alone[:4] for part in parts for row in part[0]) == sorted([*range(8)] * 3)
    assert steps_of(setup, workers=2) == alone
    assert steps_of(setup, start=3, workers=1) == alone[3:]
    two = [steps_of(replace(setup, processes=Processes(rank, 2)), workers=rank) for rank in range(2)]
    assert [[*first, *second] for first, second in zip(*two, strict=True)] == alone


def test_pictures_that_are_not_kept_are_the_same(
    files: Files, settings: CaptionerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = setup_of(files, settings)
    monkeypatch.setattr("icsd.stages.captioner.pictures.KEPT_BYTES", 0)
    streamed = setup_of(files, settings)
    assert (kept.decoded.kept, streamed.decoded.kept) == ({}, None)
    assert steps_of(kept) == steps_of(streamed)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_cannot_be_decoded_is_named(files: Files, settings: CaptionerConfig, workers: int) -> None:
    rows = tables.read(files.images[0], tables.IMAGES).to_pylist()
    rows[5]["image"] = {"bytes": rows[5]["image"]["bytes"][:-30], "path": None}
    tables.write(files.images[0], tables.IMAGES, rows)
    with pytest.raises(InputError, match=r"images\.parquet, multi-5: is no picture that can be read"):
        steps_of(setup_of(files, settings), workers=workers)


def test_the_order_of_an_epoch_is_made_once() -> None:
    _epoch_order.cache_clear()
    steps = [step_rows(step, 10, 100, seed=7) for step in range(10)]
    assert _epoch_order.cache_info().misses == 1
    assert (np.concatenate(steps) == np.random.default_rng([7, 0]).permutation(100)).all()


def test_a_pair_takes_less_than_100_bytes(files: Files) -> None:
    """Of 20,000 pairs of 4,000 captions; the benchmark training_streams measures the memory of a process."""
    said = [f"a caption of some fifty letters, as those of coco are {n}" for n in range(4_000)]
    pairs = [
        {"image_id": f"multi-{n % 8}", "caption_id": n, "caption": said[n % 4_000], "weight": 1.0}
        for n in range(20_000)
    ]
    tables.write(files.pairs, tables.PAIRS, pairs)
    read = read_pairs(files, 30)
    assert len(read) == 20_000 and len(read.texts) == 4_000 and read.weights is not None
    order = _epoch_order(0, len(read), 0)
    arrays = (read.texts, read.caption_rows, read.picture_rows, read.weights, read.pictures.places, order)
    assert sum(array.nbytes for array in arrays) < 100 * len(read)
    assert read.captions(np.array([0, 1])) == [said[0], said[8]]
