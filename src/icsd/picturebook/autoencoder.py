"""The autoencoder of the small image model: diffusers' AutoencoderKL with factor 4 and latents of 8 × 8 × 16."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import nn

from icsd.picturebook.drawing import PIXELS
from icsd.picturebook.splits import Renders, object_masks, split_renders
from icsd.picturebook.training import Meter, MovingAverage, as_tensor, autocast, batches, optimizer_for, prepare

KL_WEIGHT = 1e-6
OBJECT_WEIGHT = 3.0  # added to 1 on objects: they cover a tenth of the pixels, and captions are about them


def new_autoencoder(channels: tuple[int, ...] = (32, 64, 128), latent_channels: int = 16) -> AutoencoderKL:
    """Return an autoencoder with random weights."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels, layers_per_block=1, latent_channels=latent_channels, norm_num_groups=16,
        sample_size=PIXELS, mid_block_add_attention=False,
    )  # fmt: skip


def train_autoencoder(folder: Path, seed: int, threads: int, steps: int, scenes: int | None = None) -> None:
    """Train on renders, scale the latents to unit variance, and save as safetensors."""
    device = prepare(seed, threads)
    data = split_renders("generator", scenes)
    masks = torch.from_numpy(object_masks(data.scenes, data.pictures)).to(device)
    model = new_autoencoder().to(device).to(memory_format=torch.channels_last)
    optimizer, schedule = optimizer_for(model, 2e-3, steps)
    average, meter = MovingAverage(model), Meter("autoencoder", steps)
    for step, index in enumerate(batches(len(data.scenes), 32, steps, seed)):
        pictures = as_tensor(data.pictures[index], device)
        with autocast(device):
            posterior = model.encode(pictures).latent_dist
            decoded = model.decode(posterior.sample()).sample.float()
        loss = _reconstruction_loss(decoded, pictures, masks[index]) + KL_WEIGHT * posterior.kl().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update(model)
        meter.add(step, loss)
    _save(average.model, data, folder)


def _reconstruction_loss(decoded: torch.Tensor, pictures: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the mean of L1 + L2 per pixel, objects weighted."""
    error = decoded - pictures
    weight = 1 + OBJECT_WEIGHT * masks[:, None].float()
    return ((error.abs() + error.square()) * weight).mean()


@torch.no_grad()
def _save(model: AutoencoderKL, data: Renders, folder: Path) -> None:
    """Standardise the latents channel by channel, by changing the 1 × 1 convolutions around them, and save."""
    pictures = as_tensor(data.pictures[:1000], next(model.parameters()).device)
    latents = model.encode(pictures).latent_dist.mode()
    mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    _fold_into_convolutions(model, mean, deviation)
    model.register_to_config(scaling_factor=1.0)
    model.save_pretrained(folder, safe_serialization=True)


def _fold_into_convolutions(model: AutoencoderKL, mean: torch.Tensor, deviation: torch.Tensor) -> None:
    """Make the encoder return (z - mean) / deviation and the decoder undo it: the reconstructions stay the same."""
    channels = len(mean)
    before, after = model.quant_conv, model.post_quant_conv
    before.weight[:channels] /= deviation[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - mean) / deviation
    before.bias[channels:] -= 2 * deviation.log()
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= deviation[None, :, None, None]
