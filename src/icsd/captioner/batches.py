"""The pairs of a training step and the variation of their pictures: functions of seed and step alone."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

MAX_LOG_ASPECT = np.log(4 / 3)  # of a random crop, as torchvision's RandomResizedCrop


@dataclass(frozen=True)
class Augmentation:
    """How training pictures are varied. `flip` also turns left into right, which captions may name."""

    flip: bool = False
    crop: float | None = None  # the smallest share of the area that a random resized crop keeps; None: no cropping


def rows_of_step(step: int, batch_size: int, rows: int, seed: int) -> np.ndarray:
    """The rows [batch_size] of a step counted from 0; every row once an epoch, in an order of its own.

    The order is drawn from seed and epoch. Epochs follow one another without a gap: a batch may hold the
    end of one and the start of the next.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = places // rows
    orders = {epoch: np.random.default_rng([seed, int(epoch)]).permutation(rows) for epoch in np.unique(epochs)}
    return np.asarray([orders[epoch][place % rows] for epoch, place in zip(epochs, places, strict=True)])


def views_of(count: int, how: Augmentation, generator: np.random.Generator) -> torch.Tensor | None:
    """How each of `count` pictures is seen, for `augment`: affine maps [count, 2, 3]; None: as they are.

    They lead from the new picture's coordinates (-1 to 1) to the old one's.
    """
    if not how.flip and how.crop is None:
        return None
    share = generator.uniform(1.0 if how.crop is None else how.crop, 1.0, count)
    skew = 0.0 if how.crop is None else MAX_LOG_ASPECT
    aspect = np.exp(generator.uniform(-skew, skew, count))
    size = np.minimum(np.sqrt([share * aspect, share / aspect]), 1.0)
    centre = generator.uniform(-1.0, 1.0, (2, count)) * (1.0 - size)
    sign = np.where(generator.random(count) < 0.5, -1.0, 1.0) if how.flip else np.ones(count)
    zero = np.zeros(count)
    maps = np.asarray([[size[0] * sign, zero, centre[0]], [zero, size[1], centre[1]]])
    return torch.from_numpy(np.moveaxis(maps, -1, 0))


def augment(pixels: torch.Tensor, views: torch.Tensor | None) -> torch.Tensor:
    """Pictures [b, 3, h, w] as `views` has them, flipped and cropped; same size."""
    if views is None:
        return pixels
    grid = functional.affine_grid(views.to(pixels), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
