"""One step of a training: its rate, its pairs in parts, their loss, the update.

All chance comes from seed, step and part, and a part is the same whichever process works it through: so that any
number of processes, and a resumed training, give the same losses.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from icsd.config import Captioner as Settings
from icsd.core.errors import ModelError
from icsd.core.ids import item_seed
from icsd.models.devices import has_bfloat16
from icsd.stages.captioner.data import Pairs
from icsd.stages.captioner.model import Captioner
from icsd.stages.captioner.processes import Processes
from icsd.stages.captioner.text import Tokens

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


IGNORED = -100  # the label of a token that is not in the loss


@dataclass(frozen=True)
class Setup:
    """All that stays the same over the steps. `network` is the captioner's model, as all processes train it."""

    captioner: Captioner
    network: torch.nn.Module
    optimizer: torch.optim.AdamW
    pairs: Pairs
    tokens: Tokens
    settings: Settings
    steps: int
    seed: int
    processes: Processes


@dataclass(frozen=True)
class Part:
    """Pairs that are worked through at once, their share of the step's tokens, and the seed of their dropout."""

    rows: np.ndarray
    views: torch.Tensor | None
    share: float
    chance: int


def update(setup: Setup, step: int) -> dict[str, object]:
    """One update of the weights, by all processes together; its row of HISTORY."""
    settings, optimizer = setup.settings, setup.optimizer
    rate = settings.learning_rate * learning_rate(step, setup.steps, settings.warmup_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]
    optimizer.zero_grad()
    loss = setup.processes.sum(_gradients(setup, setup.processes.share(parts_of_step(setup, step))))
    if not math.isfinite(loss):
        problem = f"the loss of step {step + 1} is {loss}"
        raise ModelError(f"{problem}: captioner.learning_rate={settings.learning_rate} may be too high")
    if settings.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(setup.captioner.model.parameters(), settings.clip_norm)
    optimizer.step()
    return {"step": step + 1, "loss": loss, "learning_rate": rate, "metric": None, "value": None}


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """The share of the full rate at a step counted from 0: a straight rise, then half a cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def parts_of_step(setup: Setup, step: int) -> list[Part]:
    """The parts of all processes: the step's pairs in their order, cut evenly."""
    settings = setup.settings
    chances = [item_seed(f"step-{step}", setup.seed)]
    chances += [item_seed(f"step-{step}-part-{number}", setup.seed) for number in range(1, settings.batch_parts)]
    rows = rows_of_step(step, settings.batch_size, len(setup.pairs.captions), setup.seed)
    views = views_of(len(rows), Augmentation(settings.flip, settings.crop), np.random.default_rng(chances[0]))
    asked = setup.tokens.lengths[rows] - setup.tokens.prompt  # tokens in the loss, the end mark among them
    return [
        Part(
            rows[places],
            None if views is None else views[places],
            float(asked[places].sum() / asked.sum()),
            chance,
        )
        for places, chance in zip(np.split(np.arange(len(rows)), len(chances)), chances, strict=True)
    ]


def caption_loss(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Label-smoothed mean cross-entropy of the tokens asked for.

    logits [b, length, vocabulary], labels [b, length].
    """
    flat = logits.float().flatten(0, 1)
    return functional.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)


def decoder_batch(tokens: Tokens, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Input ids, attention mask and labels (the token that follows) of `rows`, each [b, longest - 1].

    The prefix's own tokens and the padding are not asked for; the end mark is.
    """
    ids = torch.from_numpy(tokens.ids[rows])
    lengths = torch.from_numpy(tokens.lengths[rows])
    longest = int(lengths.max())
    place = torch.arange(1, longest)[None]
    labels = ids[:, 1:longest].masked_fill((place < tokens.prompt) | (place >= lengths[:, None]), IGNORED)
    return ids[:, : longest - 1], (place - 1 < lengths[:, None]).long(), labels


def precision(settings: Settings, device: torch.device) -> str:
    """`settings.precision`; "auto" is bfloat16 where the device has it, else float32."""
    if settings.precision != "auto":
        return settings.precision
    return "bfloat16" if has_bfloat16(device.type) else "float32"


def _gradients(setup: Setup, parts: Sequence[Part]) -> torch.Tensor:
    """This process's part of the loss, a scalar; the gradients of all processes' are in the parameters after it."""
    loss = torch.zeros((), device=setup.processes.device)
    for part, together in _with_exchange(setup.network, parts):
        with together:
            scaled = _loss(setup, part) * part.share
            # DistributedDataParallel divides by the number of processes
            (scaled * setup.processes.count).backward()
        loss += scaled.detach()
    return loss


def _with_exchange(
    network: torch.nn.Module, parts: Sequence[Part]
) -> Iterator[tuple[Part, AbstractContextManager[None]]]:
    """Each part with what to work it through in: the gradients are exchanged once, with the last."""
    for part in parts[:-1]:
        yield part, network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()
    yield parts[-1], nullcontext()


def _loss(setup: Setup, part: Part) -> torch.Tensor:
    captioner, settings, device = setup.captioner, setup.settings, setup.processes.device
    torch.manual_seed(part.chance)  # for dropout
    ids, mask, labels = (each.to(device) for each in decoder_batch(setup.tokens, part.rows))
    pixels = captioner.pixel_values(setup.pairs.pictures.pixels[setup.pairs.rows[part.rows]])
    pixels = augment(pixels, part.views)
    enabled = precision(settings, device) == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
        logits = setup.network(
            pixel_values=pixels, decoder_input_ids=ids, decoder_attention_mask=mask, use_cache=False
        ).logits
    return caption_loss(logits, labels, settings.label_smoothing)
