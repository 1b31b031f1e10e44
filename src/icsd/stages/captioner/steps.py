"""One training step: its learning rate, the parts of its batch, their loss, the update.

All randomness derives from seed, step and part, not from the process that computes the part. So the losses are the
same for any number of processes, and for a resumed training.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from icsd.config import CaptionerConfig
from icsd.core.errors import ModelError
from icsd.core.ids import item_seed
from icsd.models.devices import has_bfloat16
from icsd.stages.captioner.data import Pairs
from icsd.stages.captioner.model import Captioner
from icsd.stages.captioner.pictures import WholePictures
from icsd.stages.captioner.processes import Processes
from icsd.stages.captioner.text import TokenizedCaptions

MAX_LOG_ASPECT = np.log(4 / 3)  # aspect ratio of a random crop, as in torchvision's RandomResizedCrop
TRIES = 10  # to draw a crop that fits into the picture, as there


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training pictures. `flip` also swaps left and right, which captions may name."""

    flip: bool = False
    crop: float | None = None  # smallest share of the area in a random resized crop; None: no cropping


def step_rows(step: int, batch_size: int, rows: int, seed: int) -> np.ndarray:
    """Choose the rows [batch_size] of a step counted from 0.

    Every epoch has each row once, in an order drawn from seed and epoch. A batch may hold the end of one epoch and
    the start of the next.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = places // rows
    orders = {epoch: np.random.default_rng([seed, int(epoch)]).permutation(rows) for epoch in np.unique(epochs)}
    return np.asarray([orders[epoch][place % rows] for epoch, place in zip(epochs, places, strict=True)])


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


IGNORED = -100  # label of a token that is not in the loss


@dataclass(frozen=True)
class Setup:
    """Everything that stays the same over the steps; `network` is the model, wrapped for distributed training."""

    captioner: Captioner
    network: torch.nn.Module
    optimizer: torch.optim.AdamW
    pairs: Pairs
    tokens: TokenizedCaptions
    settings: CaptionerConfig
    steps: int
    seed: int
    processes: Processes


@dataclass(frozen=True)
class Part:
    """Pairs that are computed at once, their share of the step's tokens, and the seed of their dropout.

    `boxes` are crops of pictures at their own size; None for squares.
    """

    rows: np.ndarray
    boxes: np.ndarray | None
    views: torch.Tensor | None
    share: float
    seed: int


def update(setup: Setup, step: int) -> dict[str, object]:
    """Update the weights, on all processes together; return the row of HISTORY."""
    settings, optimizer = setup.settings, setup.optimizer
    rate = settings.learning_rate * learning_rate(step, setup.steps, settings.warmup_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]
    optimizer.zero_grad()
    loss = setup.processes.sum(_gradients(setup, setup.processes.share(step_parts(setup, step))))
    if not math.isfinite(loss):
        problem = f"the loss of step {step + 1} is {loss}"
        raise ModelError(f"{problem}: captioner.learning_rate={settings.learning_rate} may be too high")
    if settings.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(setup.captioner.model.parameters(), settings.clip_norm)
    optimizer.step()
    return {"step": step + 1, "loss": loss, "learning_rate": rate, "metric": None, "value": None}


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Return the factor of the learning rate at a step counted from 0: linear warm-up, cosine decay to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def step_parts(setup: Setup, step: int) -> list[Part]:
    """Split the pairs of a step, in their order, into equal parts."""
    settings = setup.settings
    seeds = [item_seed(f"step-{step}", setup.seed)]
    seeds += [item_seed(f"step-{step}-part-{number}", setup.seed) for number in range(1, settings.batch_parts)]
    rows = step_rows(step, settings.batch_size, len(setup.pairs.captions), setup.seed)
    generator = np.random.default_rng(seeds[0])
    boxes = _boxes(setup, rows, generator)
    crop = settings.crop if boxes is None else None
    views = random_views(len(rows), Augmentation(settings.flip, crop), generator)
    counts = setup.tokens.lengths[rows] - setup.tokens.prompt  # tokens in the loss, with the end token
    return [
        Part(
            rows[places],
            None if boxes is None else boxes[places],
            None if views is None else views[places],
            float(counts[places].sum() / counts.sum()),
            seed,
        )
        for places, seed in zip(np.split(np.arange(len(rows)), len(seeds)), seeds, strict=True)
    ]


def _boxes(setup: Setup, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray | None:
    pairs, smallest = setup.pairs, setup.settings.crop
    if smallest is None or not isinstance(pairs.pictures, WholePictures):
        return None
    return random_boxes(pairs.pictures.index[pairs.rows[rows], 1:], smallest, generator)


def caption_loss(
    logits: torch.Tensor, labels: torch.Tensor, smoothing: float, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute the label-smoothed mean cross-entropy of the tokens whose label is not IGNORED.

    logits [b, length, vocabulary], labels [b, length]. With `weights` [b] each token's loss is multiplied by the weight
    of its caption; the number of tokens stays, so that weights of 1 on average leave the scale as it is.
    """
    flat, wanted = logits.float().flatten(0, 1), labels.flatten()
    if weights is None:
        return functional.cross_entropy(flat, wanted, ignore_index=IGNORED, label_smoothing=smoothing)
    losses = functional.cross_entropy(
        flat, wanted, ignore_index=IGNORED, label_smoothing=smoothing, reduction="none"
    ).view_as(labels)
    return (losses * weights[:, None]).sum() / (labels != IGNORED).sum()


def decoder_batch(tokens: TokenizedCaptions, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return input ids, attention mask and labels (the next tokens) of `rows`, each [b, longest - 1].

    The prefix and the padding have the label IGNORED; the end token counts in the loss.
    """
    ids = torch.from_numpy(tokens.ids[rows])
    lengths = torch.from_numpy(tokens.lengths[rows])
    longest = int(lengths.max())
    place = torch.arange(1, longest)[None]
    labels = ids[:, 1:longest].masked_fill((place < tokens.prompt) | (place >= lengths[:, None]), IGNORED)
    return ids[:, : longest - 1], (place - 1 < lengths[:, None]).long(), labels


def precision(settings: CaptionerConfig, device: torch.device) -> str:
    """Resolve `settings.precision`: "auto" is bfloat16 where the device has units for it, else float32."""
    if settings.precision != "auto":
        return settings.precision
    return "bfloat16" if has_bfloat16(device.type) else "float32"


def _gradients(setup: Setup, parts: Sequence[Part]) -> torch.Tensor:
    """Accumulate the gradients of all processes in the parameters; return this process's loss, a scalar."""
    loss = torch.zeros((), device=setup.processes.device)
    for part, context in _with_gradient_sync(setup.network, parts):
        with context:
            scaled = _loss(setup, part) * part.share
            # DistributedDataParallel divides by the number of processes
            (scaled * setup.processes.count).backward()
        loss += scaled.detach()
    return loss


def _with_gradient_sync(
    network: torch.nn.Module, parts: Sequence[Part]
) -> Iterator[tuple[Part, AbstractContextManager[None]]]:
    """Yield each part with its context: processes exchange their gradients once, with the last part."""
    for part in parts[:-1]:
        yield part, network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()
    yield parts[-1], nullcontext()


def _pixels(setup: Setup, part: Part) -> np.ndarray | torch.Tensor:
    """Return the squares of a part, uint8 [b, size, size, 3]."""
    pictures, rows = setup.pairs.pictures, setup.pairs.rows[part.rows]
    if isinstance(pictures, WholePictures) and part.boxes is not None:
        return pictures.crops(rows, part.boxes, setup.captioner.picture_size, setup.processes.device)
    return pictures.pixels[rows]


def _loss(setup: Setup, part: Part) -> torch.Tensor:
    captioner, settings, device = setup.captioner, setup.settings, setup.processes.device
    torch.manual_seed(part.seed)  # for dropout
    ids, mask, labels = (each.to(device) for each in decoder_batch(setup.tokens, part.rows))
    pixels = augment(captioner.pixel_values(_pixels(setup, part)), part.views)
    enabled = precision(settings, device) == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
        logits = setup.network(
            pixel_values=pixels, decoder_input_ids=ids, decoder_attention_mask=mask, use_cache=False
        ).logits
    weights = setup.pairs.weights
    chosen = None if weights is None else torch.from_numpy(weights[part.rows]).to(device)
    return caption_loss(logits, labels, settings.label_smoothing, chosen)
