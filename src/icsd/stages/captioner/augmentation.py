"""Random changes of training pictures: flips and crops."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

MAX_LOG_ASPECT = np.log(4 / 3)  # aspect ratio of a random crop, as in torchvision's RandomResizedCrop
TRIES = 10  # to draw a crop that fits into the picture, as there


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training pictures. `flip` also swaps left and right, which captions may name."""

    flip: bool = False
    crop: float | None = None  # smallest share of the area in a random resized crop; None: no cropping


def random_views(count: int, how: Augmentation, generator: np.random.Generator) -> torch.Tensor | None:
    """Draw affine maps [count, 2, 3] for `augment`; None for no change.

    They map coordinates (-1 to 1) of the new picture to those of the old one.
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


def random_boxes(shapes: np.ndarray, smallest: float, generator: np.random.Generator) -> np.ndarray:
    """Draw a crop (left, top, width, height) [b, 4] of each picture of `shapes` [b, 2] (height, width), in its pixels.

    They are those of torchvision's RandomResizedCrop: a share of the area from `smallest` to 1, and an aspect ratio
    from 3/4 to 4/3 on a logarithmic scale; if none fits, the largest in the centre whose aspect ratio is in the range.
    """
    return np.asarray([_random_box(height, width, smallest, generator) for height, width in shapes.tolist()])


def _random_box(height: int, width: int, smallest: float, generator: np.random.Generator) -> tuple[int, int, int, int]:
    for _ in range(TRIES):
        area = height * width * generator.uniform(smallest, 1.0)
        aspect = math.exp(generator.uniform(-MAX_LOG_ASPECT, MAX_LOG_ASPECT))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            left, top = generator.integers(width - wide + 1), generator.integers(height - high + 1)
            return int(left), int(top), wide, high
    limit = math.exp(MAX_LOG_ASPECT)
    wide, high = min(width, round(height * limit)), min(height, round(width * limit))
    return (width - wide) // 2, (height - high) // 2, wide, high


def augment(pixels: torch.Tensor, views: torch.Tensor | None) -> torch.Tensor:
    """Flip and crop pictures [b, 3, h, w] by the maps `views`; the size stays."""
    if views is None:
        return pixels
    grid = functional.affine_grid(views.to(pixels), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


def augment_squares(squares: np.ndarray | torch.Tensor, views: torch.Tensor | None) -> np.ndarray:
    """Flip and crop squares [b, h, w, 3] uint8 by the maps `views`, rounded to uint8 again."""
    pixels = torch.from_numpy(np.array(squares)) if isinstance(squares, np.ndarray) else squares
    if views is None:
        return pixels.cpu().numpy()
    changed = augment(pixels.permute(0, 3, 1, 2).float(), views)
    return changed.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def squares(pixels: torch.Tensor, boxes: np.ndarray | None, size: int, device: torch.device) -> torch.Tensor:
    """Return squares uint8 [b, size, size, 3] on the device: `pixels`, or the crops `boxes` [b, 4] in them, resized.

    Crops lie one after another, RGB by rows. The resizing is PIL's, bicubic and antialiased. PIL also rounds between
    width and height, and cuts off there what exceeds 255.
    """
    pixels = pixels.to(device)
    if boxes is None:
        return pixels
    shapes = [(int(height), int(width), 3) for _, _, width, height in boxes]
    crops = zip(pixels.split([math.prod(shape) for shape in shapes]), shapes, strict=True)
    return torch.stack([_resized(crop.view(shape), size) for crop, shape in crops])


def _resized(region: torch.Tensor, size: int) -> torch.Tensor:
    values = region.permute(2, 0, 1)[None].float()
    values = functional.interpolate(values, size=(size, size), mode="bicubic", align_corners=False, antialias=True)
    return values[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
