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
from icsd.stages.captioner.augmentation import Augmentation, random_boxes, random_views, squares
from icsd.stages.captioner.data import Pairs
from icsd.stages.captioner.interface import IGNORED, Captioner
from icsd.stages.captioner.loading import precision
from icsd.stages.captioner.pictures import Decoded
from icsd.stages.captioner.processes import Processes
from icsd.stages.captioner.text import TokenizedCaptions

NO_PIXELS = torch.empty(0, dtype=torch.uint8)


@dataclass(frozen=True)
class Setup:
    """Everything that stays the same over the steps; `network` is the model, wrapped for distributed training."""

    captioner: Captioner
    network: torch.nn.Module
    optimizer: torch.optim.AdamW
    pairs: Pairs
    decoded: Decoded
    settings: CaptionerConfig
    steps: int
    seed: int
    processes: Processes


@dataclass(frozen=True)
class Part:
    """Pairs that are computed at once, their share of the step's tokens, and the seed of their dropout.

    `tokens` are those of the cleaned captions of the pairs `rows`. `boxes` are crops of pictures at their own size;
    None for squares. `pixels` are those of the squares or of the crops (augmentation.squares).
    """

    rows: np.ndarray
    tokens: TokenizedCaptions
    boxes: np.ndarray | None
    views: torch.Tensor | None
    share: float
    seed: int
    pixels: torch.Tensor = NO_PIXELS


def update(setup: Setup, step: int, parts: Sequence[Part]) -> dict[str, object]:
    """Update the weights, on all processes together, by this one's parts of a step; return the row of HISTORY."""
    settings, optimizer = setup.settings, setup.optimizer
    rate = settings.learning_rate * learning_rate(step, setup.steps, settings.warmup_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]
    optimizer.zero_grad()
    loss = setup.processes.sum(_gradients(setup, parts))
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


def step_parts(setup: Setup, step: int, rows: np.ndarray) -> list[Part]:
    """Split the pairs `rows` of a step, in their order, into equal parts."""
    settings = setup.settings
    seeds = [item_seed(f"step-{step}", setup.seed)]
    seeds += [item_seed(f"step-{step}-part-{number}", setup.seed) for number in range(1, settings.batch_parts)]
    generator = np.random.default_rng(seeds[0])
    boxes = _boxes(setup, rows, generator)
    crop = settings.crop if boxes is None else None
    views = random_views(len(rows), Augmentation(settings.flip, crop), generator)
    tokens = setup.captioner.tokenize(setup.pairs.captions(rows), settings)
    counts = tokens.lengths - tokens.prompt  # tokens in the loss, with the end token
    return [
        Part(
            rows[places],
            TokenizedCaptions(tokens.ids[places], tokens.lengths[places], tokens.prompt),
            None if boxes is None else boxes[places],
            None if views is None else views[places],
            float(counts[places].sum() / counts.sum()),
            seed,
        )
        for places, seed in zip(np.split(np.arange(len(rows)), len(seeds)), seeds, strict=True)
    ]


def _boxes(setup: Setup, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray | None:
    pairs, smallest = setup.pairs, setup.settings.crop
    if smallest is None or not setup.settings.crops_whole_pictures:
        return None
    return random_boxes(pairs.pictures.shapes(pairs.picture_rows[rows]), smallest, generator)


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


def _loss(setup: Setup, part: Part) -> torch.Tensor:
    captioner, settings, device = setup.captioner, setup.settings, setup.processes.device
    torch.manual_seed(part.seed)  # for dropout
    pixels = squares(part.pixels, part.boxes, captioner.square.size, device)
    batch = captioner.batch(pixels, part.views, part.tokens)
    enabled = precision(settings, device) == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
        logits = setup.network(**batch.inputs).logits[:, -batch.labels.shape[1] :]
    weights = setup.pairs.weights
    chosen = None if weights is None else torch.from_numpy(weights[part.rows]).to(device)
    return caption_loss(logits, batch.labels, settings.label_smoothing, chosen)
