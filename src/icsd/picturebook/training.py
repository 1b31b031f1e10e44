"""Common parts of the small models' training: seeding, learning-rate schedule, batches, moving averages."""

import copy
import logging
import math
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import nn

from icsd.models.devices import has_bfloat16

log = logging.getLogger(__name__)
Optimization = tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]
Model = TypeVar("Model", bound=nn.Module)


def prepare(seed: int, threads: int) -> torch.device:
    """Seed torch, set its threads, and return the device to train on."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    # on a CPU the fused kernels train slower than plain attention
    torch.backends.cuda.enable_flash_sdp(False)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device) -> torch.autocast:
    """Return mixed precision in bfloat16 if the device has it, else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device.type))


def batches(count: int, size: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    """Yield `steps` arrays of `size` indices, from epochs of a seeded shuffle."""
    rng = np.random.default_rng(seed)
    order = np.empty(0, dtype=np.int64)
    for _ in range(steps):
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(count)])
        batch, order = order[:size], order[size:]
        yield batch


def cosine_rate(step: int, steps: int, warmup: int = 100, floor: float = 0.02) -> float:
    """Return the factor of the learning rate: linear warm-up, then half a cosine down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


def optimizer_for(model: nn.Module, rate: float, steps: int, weight_decay: float = 0.01) -> Optimization:
    """Return AdamW and its cosine schedule."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=weight_decay, betas=(0.9, 0.99))
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_rate(step, steps))


def as_tensor(pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    """Convert uint8 [n, h, w, 3] to float32 [n, 3, h, w] in -1..1."""
    return torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def add_noise_and_blur(pictures: torch.Tensor) -> torch.Tensor:
    """Add noise and blur of random strength to pictures [n, 3, h, w], so that a model tolerates flaws of a drawing."""
    noise_share, blur_share = torch.rand(2, len(pictures), 1, 1, 1, device=pictures.device)
    blurred = nn.functional.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
    # squared, so that most pictures stay nearly sharp, as real renders are
    blended = torch.lerp(pictures, blurred, 0.7 * blur_share.square())
    return blended + 0.1 * noise_share.square() * torch.randn_like(pictures)


class MovingAverage(Generic[Model]):
    """An exponential moving average of a model's weights. In the warm-up the decay is at most (1+n)/(10+n)."""

    def __init__(self, model: Model, decay: float = 0.999) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: Model) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averaged = list(self.model.state_dict().values())
        current = list(model.state_dict().values())
        for mean, value in zip(averaged, current, strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value.detach(), 1 - decay)
            else:
                mean.copy_(value)


class Meter:
    """A log of the running loss, the speed and the time left."""

    def __init__(self, what: str, steps: int, every: int = 200) -> None:
        self.what, self.steps, self.every = what, steps, every
        self.start = time.perf_counter()
        self.losses: list[float] = []

    def add(self, step: int, loss: torch.Tensor) -> None:
        self.losses.append(float(loss.detach()))
        if (step + 1) % self.every and step + 1 != self.steps:
            return
        seconds = (time.perf_counter() - self.start) / (step + 1)
        left = seconds * (self.steps - step - 1)
        log.info("%s: step %d of %d, loss %.5f, %.3f s a step, %.0f s left", self.what, step + 1, self.steps,
                 float(np.mean(self.losses)), seconds, left)  # fmt: skip
        self.losses.clear()
