"""The small image model: training of its text encoder and UNet, and its folder, a StableDiffusionPipeline."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from torch import nn
from transformers import CLIPImageProcessor, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from icsd.picturebook.scenes import COLOURS, KINDS, SIZES
from icsd.picturebook.splits import split_renders
from icsd.picturebook.tokenizers import (
    CONTEXT_LENGTH,
    UNLABELLED,
    SentenceParts,
    noun_labels,
    sample_sentences,
    tokenize,
)
from icsd.picturebook.training import (
    Meter,
    MovingAverage,
    as_tensor,
    autocast,
    batches,
    cosine_rate,
    optimizer_for,
    prepare,
)

log = logging.getLogger(__name__)
WIDTH = 128
SCHEDULER = {
    "num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction",
    "clip_sample": False,
}  # fmt: skip
MAX_SNR = 5.0  # of the loss weights of Hang et al., 2023 ("Efficient diffusion training via Min-SNR weighting")


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return a text encoder of 3 layers of 128, with random weights."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=CONTEXT_LENGTH, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, projection_dim=WIDTH,
    )  # fmt: skip
    return CLIPTextModel(config)


def new_unet(channels: tuple[int, ...] = (96, 128)) -> UNet2DConditionModel:
    """Return a UNet with random weights and cross-attention at 8 × 8 and 4 × 4."""
    return UNet2DConditionModel(
        sample_size=8, in_channels=16, out_channels=16, block_out_channels=channels, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * len(channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(channels),
        cross_attention_dim=WIDTH, attention_head_dim=4, norm_num_groups=16,
    )  # fmt: skip


class TextToLatents(nn.Module):
    """The UNet and its text encoder, which are trained together."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def save(self, folder: Path) -> None:
        """Write `unet/` and `text_encoder/` into the folder."""
        self.unet.save_pretrained(folder / "unet")
        self.text_encoder.save_pretrained(folder / "text_encoder")


def train_text_encoder(folder: Path, tokenizer: CLIPTokenizer, seed: int, threads: int, steps: int,
                       scenes: int = 20_000) -> None:  # fmt: skip
    """Train the text encoder to classify kind, colour and size from its state at each noun, and save it.

    CLIP's text encoder learns this from 400 million pairs. The UNet's loss alone would take hours to teach it.
    """
    device = prepare(seed, threads)
    data = tokenize(split_renders("generator", scenes).captions, tokenizer)
    encoder = new_text_encoder(tokenizer).to(device)
    counts = (len(KINDS), 1 + len(COLOURS), 1 + len(SIZES))
    classifiers = nn.ModuleList(nn.Linear(WIDTH, classes) for classes in counts)
    model = nn.ModuleList([encoder, classifiers]).to(device)
    optimizer, schedule = optimizer_for(model, 1e-3, steps)
    rng, meter = np.random.default_rng(seed), Meter("text encoder", steps)
    for step, index in enumerate(batches(len(data.ids), 64, steps, seed)):
        rows = sample_sentences(data, index, rng, drop=0.0)
        states = encoder(torch.from_numpy(rows).to(device)).last_hidden_state
        pairs = zip(classifiers, noun_labels(rows, tokenizer), strict=True)
        losses = (_label_loss(classifier(states), labels) for classifier, labels in pairs)
        loss = sum(losses, start=torch.zeros((), device=device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        meter.add(step, loss)
    encoder.save_pretrained(folder)


def _label_loss(logits: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
    target = torch.from_numpy(labels).to(logits.device).flatten()
    return nn.functional.cross_entropy(logits.flatten(0, 1), target, ignore_index=UNLABELLED)


@torch.no_grad()
def encode_pictures(autoencoder: AutoencoderKL, pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    """Encode uint8 pictures to scaled latents, float32 [n, 16, 8, 8]."""
    autoencoder = autoencoder.to(device).eval()
    with autocast(device):
        latents = [
            autoencoder.encode(as_tensor(pictures[start : start + 500], device)).latent_dist.mode().float()
            for start in range(0, len(pictures), 500)
        ]
    return torch.cat(latents) * autoencoder.config.scaling_factor


def train_unet(folder: Path, autoencoder: Path, text_encoder: Path, tokenizer: CLIPTokenizer, seed: int, threads: int,
               cycles: Sequence[int], batch_size: int = 48, scenes: int | None = None) -> None:  # fmt: skip
    """Train UNet and text encoder on the generator split. `cycles` are numbers of steps.

    The saved weights are a moving average. Each cycle starts from the weights of the one before and raises the learning
    rate again (Loshchilov and Hutter, 2017, "SGDR"), so that a longer training only adds a cycle.
    """
    device = prepare(seed, threads)
    data = split_renders("generator", scenes)
    latents = encode_pictures(
        AutoencoderKL.from_pretrained(autoencoder, torch_dtype=torch.float32), data.pictures, device
    )
    log.info("unet: latents %s, standard deviation %.3f", tuple(latents.shape), float(latents.std()))
    model = TextToLatents(new_unet(), CLIPTextModel.from_pretrained(text_encoder, dtype=torch.float32)).to(device)
    texts = tokenize(data.captions, tokenizer)
    for number, steps in enumerate(cycles):
        model = train_cycle(model, latents, texts, seed + number, steps, batch_size)
        model.save(folder)


def train_cycle(
    model: TextToLatents, latents: torch.Tensor, texts: SentenceParts, seed: int, steps: int, batch_size: int,
    rate: float = 1e-3,
) -> TextToLatents:  # fmt: skip
    """Train the model further, and return the moving average of its weights."""
    torch.manual_seed(seed)
    model.train().requires_grad_(True)
    unet, text_encoder = model.unet, model.text_encoder
    unet.to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # plain attention trains a third faster on a CPU than the fused kernel
    optimizer = torch.optim.AdamW(
        [{"params": unet.parameters(), "lr": rate}, {"params": text_encoder.parameters(), "lr": rate / 4}],
        weight_decay=0.01, betas=(0.9, 0.99),
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_rate(step, steps))
    noise = DDPMScheduler(**SCHEDULER)
    average, rng, meter = MovingAverage(model), np.random.default_rng(seed), Meter("unet", steps)
    for step, index in enumerate(batches(len(latents), batch_size, steps, seed)):
        rows = torch.from_numpy(sample_sentences(texts, index, rng, drop=0.1)).to(latents.device)
        loss = _denoising_loss(model, latents[index], rows, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update(model)
        meter.add(step, loss)
    return average.model


def _denoising_loss(
    model: TextToLatents, latents: torch.Tensor, rows: torch.Tensor, noise: DDPMScheduler
) -> torch.Tensor:
    """Return the mean squared error of the predicted velocity, weighted by min(SNR, MAX_SNR) / (SNR + 1)."""
    times = torch.randint(0, noise.config.num_train_timesteps, (len(latents),), device=latents.device)
    added = torch.randn_like(latents)
    noisy = noise.add_noise(latents, added, times)
    with autocast(latents.device):
        states = model.text_encoder(rows).last_hidden_state
        predicted = model.unet(noisy.contiguous(memory_format=torch.channels_last), times, states).sample.float()
    signal = noise.alphas_cumprod.to(latents.device)[times]
    snr = signal / (1 - signal)
    weight = snr.clamp(max=MAX_SNR) / (snr + 1)
    error = (predicted - noise.get_velocity(latents, added, times)).square().mean(dim=(1, 2, 3))
    return (error * weight).mean()


# Sampling starts at this noise: above it the cosine schedule leaves no signal, and the solver becomes unstable.
MIN_LOG_SNR = -5.1  # half of log(SNR), as diffusers advises for squaredcos_cap_v2


Model = TypeVar("Model", AutoencoderKL, UNet2DConditionModel)


@dataclass(frozen=True)
class PipelineParts:
    """The folders of the trained parts. The safety checker's also holds its image processor."""

    autoencoder: Path
    unet: Path
    text_encoder: Path
    tokenizer: Path
    safety_checker: Path


def assemble_pipeline(folder: Path, parts: PipelineParts, dtype: torch.dtype = torch.float16) -> None:
    """Write the pipeline as safetensors, with its weights in `dtype`."""
    pipeline = StableDiffusionPipeline(
        vae=_without_path(AutoencoderKL.from_pretrained(parts.autoencoder, torch_dtype=dtype)),
        text_encoder=CLIPTextModel.from_pretrained(parts.text_encoder, dtype=dtype),
        tokenizer=CLIPTokenizer.from_pretrained(parts.tokenizer),
        unet=_without_path(UNet2DConditionModel.from_pretrained(parts.unet, torch_dtype=dtype)),
        scheduler=new_scheduler(),
        safety_checker=StableDiffusionSafetyChecker.from_pretrained(parts.safety_checker, dtype=dtype),
        feature_extractor=CLIPImageProcessor.from_pretrained(parts.safety_checker),
    )
    pipeline.save_pretrained(folder, safe_serialization=True)


def _without_path(model: Model) -> Model:
    """Remove from the model's config the path that it was loaded from."""
    model.register_to_config(_name_or_path="")
    return model


def new_scheduler() -> DPMSolverMultistepScheduler:
    """Return a DPM-Solver++ for the noise schedule that the UNet was trained with."""
    training = {key: value for key, value in SCHEDULER.items() if key != "clip_sample"}  # the solver has no such key
    return DPMSolverMultistepScheduler(
        **training, algorithm_type="dpmsolver++", lambda_min_clipped=MIN_LOG_SNR,
        steps_offset=1,  # unused with the solver's spacing, but StableDiffusionPipeline insists on it
    )  # fmt: skip
