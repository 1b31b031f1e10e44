"""The stream of a training: the parts of each step with their pixels, decoded ahead of it by worker processes.

The order depends on seed and step alone, and so do the crops: not on the workers, the processes or where the training
began. Step n needs no step before it, so a resumed training begins its stream there.
"""

import os
import signal
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from icsd.core.errors import ICSDError
from icsd.stages.captioner.state import SIGNALS
from icsd.stages.captioner.steps import Part, Setup, step_parts

Step = tuple[int, np.ndarray]  # its number and the rows of its pairs


def step_rows(step: int, batch_size: int, rows: int, seed: int) -> np.ndarray:
    """Choose the rows [batch_size] of a step counted from 0.

    Every epoch has each row once, in an order drawn from seed and epoch. A batch may hold the end of one epoch and
    the start of the next.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = places // rows
    return np.concatenate(
        [_epoch_order(epoch, rows, seed)[places[epochs == epoch] % rows] for epoch in np.unique(epochs).tolist()]
    )


@lru_cache(maxsize=1)  # of 4 million rows an order takes 0.1 s and 17 MB
def _epoch_order(epoch: int, rows: int, seed: int) -> np.ndarray:
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return order.astype(np.int32) if rows < 2**31 else order


def stream(setup: Setup, start: int, workers: int) -> Generator[Sequence[Part]]:
    """Yield this process's parts of each step from `start` on; InputError for a picture that cannot be decoded.

    Without workers each step is decoded when it is asked for, in this process. With them, two steps a worker wait in
    shared memory.
    """
    loader: DataLoader[Sequence[Part] | ICSDError] = DataLoader(
        _Steps(setup),
        batch_size=None,
        sampler=_numbered_rows(setup, start),
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_begin_worker,
        # a forked worker shares the pairs' memory, and does not import the script of the rule
        multiprocessing_context="fork" if workers else None,
    )
    for parts in loader:
        if isinstance(parts, ICSDError):
            raise parts
        yield parts


def _numbered_rows(setup: Setup, start: int) -> Iterator[Step]:
    for step in range(start, setup.steps):
        yield step, step_rows(step, setup.settings.batch_size, len(setup.pairs), setup.seed)


class _Steps(Dataset[Sequence[Part] | ICSDError]):
    """Loads the parts of a step; an error is returned, since DataLoader raises a copy that has lost its fields."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def __getitem__(self, step: Step) -> Sequence[Part] | ICSDError:
        setup = self._setup
        try:
            return [load_part(setup, part) for part in setup.processes.share(step_parts(setup, *step))]
        except ICSDError as error:
            return error


def load_part(setup: Setup, part: Part) -> Part:
    """Decode the pictures of a part; InputError for one that cannot be decoded."""
    pictures = [setup.decoded[row] for row in setup.pairs.picture_rows[part.rows].tolist()]
    if part.boxes is None:
        return replace(part, pixels=torch.from_numpy(np.stack(pictures)))
    crops = [
        picture[top : top + height, left : left + width].reshape(-1)
        for picture, (left, top, width, height) in zip(pictures, part.boxes.tolist(), strict=True)
    ]
    return replace(part, pixels=torch.from_numpy(np.concatenate(crops)))


def _as_it_is(parts: Sequence[Part] | ICSDError) -> Sequence[Part] | ICSDError:
    return parts


def _begin_worker(_number: int) -> None:
    for number in (*SIGNALS, signal.SIGINT):  # they are sent to the whole job: the training saves its state first
        signal.signal(number, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not outlive a fork
