"""The small image model as one folder: a StableDiffusionPipeline of the parts that were trained."""

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

from icsd.picturebook.renders import split_renders
from icsd.picturebook.scenes import COLOURS, KINDS, SIZES
from icsd.picturebook.tokenizers import (
    CONTEXT_LENGTH,
    UNLABELLED,
    TokenizedCaptions,
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
MAX_SNR = 5.0  # loss weights of Hang et al., 2023 ("Efficient diffusion training via Min-SNR weighting")


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Random weights: 3 layers of 128."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=CONTEXT_LENGTH, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, projection_dim=WIDTH,
    )  # fmt: skip
    return CLIPTextModel(config)


def new_unet(channels: tuple[int, ...] = (96, 128)) -> UNet2DConditionModel:
    """Random weights; attention to the text at 8 × 8 and at 4 × 4."""
    return UNet2DConditionModel(
        sample_size=8, in_channels=16, out_channels=16, block_out_channels=channels, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * len(channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(channels),
        cross_attention_dim=WIDTH, attention_head_dim=4, norm_num_groups=16,
    )  # fmt: skip


class TextToLatents(nn.Module):
    """What is trained together: the UNet, and the text encoder that it reads with."""

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
    """Teach the text encoder to read: from the state at a noun tell its kind, colour and size.

    CLIP's text encoder learns this from 400 million pairs; told apart by the UNet's loss alone, it takes hours.
    """
    device = prepare(seed, threads)
    data = tokenize(split_renders("generator", scenes).captions, tokenizer)
    encoder = new_text_encoder(tokenizer).to(device)
    heads = nn.ModuleList(nn.Linear(WIDTH, classes) for classes in (len(KINDS), 1 + len(COLOURS), 1 + len(SIZES)))
    model = nn.ModuleList([encoder, heads]).to(device)
    optimizer, schedule = optimizer_for(model, 1e-3, steps)
    rng, meter = np.random.default_rng(seed), Meter("text encoder", steps)
    for step, index in enumerate(batches(len(data.ids), 64, steps, seed)):
        rows = sample_sentences(data, index, rng, drop=0.0)
        states = encoder(torch.from_numpy(rows).to(device)).last_hidden_state
        pairs = zip(heads, noun_labels(rows, tokenizer), strict=True)
        losses = (_label_loss(head(states), labels) for head, labels in pairs)
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
    """Scaled latents float32 [n, 16, 8, 8] of uint8 pictures."""
    autoencoder = autoencoder.to(device).eval()
    with autocast(device):
        latents = [
            autoencoder.encode(as_tensor(pictures[start : start + 500], device)).latent_dist.mode().float()
            for start in range(0, len(pictures), 500)
        ]
    return torch.cat(latents) * autoencoder.config.scaling_factor


def train_unet(folder: Path, autoencoder: Path, text_encoder: Path, tokenizer: CLIPTokenizer, seed: int, threads: int,
               cycles: Sequence[int], batch_size: int = 48, scenes: int | None = None) -> None:  # fmt: skip
    """Train UNet and text encoder on the generator split, in cycles of so many steps.

    The weights kept are a moving average. Each cycle starts from those of the one before, with a learning rate raised
    anew (Loshchilov and Hutter, 2017, "SGDR"), so that a longer training adds a cycle and begins nothing again.
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
    model: TextToLatents, latents: torch.Tensor, texts: TokenizedCaptions, seed: int, steps: int, batch_size: int,
    rate: float = 1e-3,
) -> TextToLatents:  # fmt: skip
    """Train the model from where it is; the moving average of its weights."""
    torch.manual_seed(seed)
    model.train().requires_grad_(True)
    unet, reader = model.unet, model.text_encoder
    unet.to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # written out: a third faster than fused in training on a CPU
    optimizer = torch.optim.AdamW(
        [{"params": unet.parameters(), "lr": rate}, {"params": reader.parameters(), "lr": rate / 4}],
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
    """Mean squared error of the predicted velocity, weighted by min(SNR, MAX_SNR) / (SNR + 1)."""
    times = torch.randint(0, noise.config.num_train_timesteps, (len(latents),), device=latents.device)
    added = torch.randn_like(latents)
    noisy = noise.add_noise(latents, added, times)
    with autocast(latents.device):
        states = model.text_encoder(rows).last_hidden_state
        predicted = model.unet(noisy.contiguous(memory_format=torch.channels_last), times, states).sample.float()
    kept = noise.alphas_cumprod.to(latents.device)[times]
    snr = kept / (1 - kept)
    weight = snr.clamp(max=MAX_SNR) / (snr + 1)
    error = (predicted - noise.get_velocity(latents, added, times)).square().mean(dim=(1, 2, 3))
    return (error * weight).mean()


# Where sampling starts: below it the cosine schedule leaves no signal, and the solver's steps become unstable.
MIN_LOG_SNR = -5.1  # half of the log, as diffusers advises for squaredcos_cap_v2


Model = TypeVar("Model", AutoencoderKL, UNet2DConditionModel)


@dataclass(frozen=True)
class PipelineParts:
    """The folders of the trained parts; the safety checker's holds its picture processor too."""

    autoencoder: Path
    unet: Path
    text_encoder: Path
    tokenizer: Path
    safety_checker: Path


def assemble_pipeline(folder: Path, parts: PipelineParts, dtype: torch.dtype = torch.float16) -> None:
    """Write the pipeline as safetensors, its weights in `dtype`: in half precision they take half the room."""
    pipeline = StableDiffusionPipeline(
        vae=_placeless(AutoencoderKL.from_pretrained(parts.autoencoder, torch_dtype=dtype)),
        text_encoder=CLIPTextModel.from_pretrained(parts.text_encoder, dtype=dtype),
        tokenizer=CLIPTokenizer.from_pretrained(parts.tokenizer),
        unet=_placeless(UNet2DConditionModel.from_pretrained(parts.unet, torch_dtype=dtype)),
        scheduler=new_scheduler(),
        safety_checker=StableDiffusionSafetyChecker.from_pretrained(parts.safety_checker, dtype=dtype),
        feature_extractor=CLIPImageProcessor.from_pretrained(parts.safety_checker),
    )
    pipeline.save_pretrained(folder, safe_serialization=True)


def _placeless(model: Model) -> Model:
    """The model, whose config no longer tells from which folder of this machine it was read."""
    model.register_to_config(_name_or_path="")
    return model


def new_scheduler() -> DPMSolverMultistepScheduler:
    """DPM-Solver++ for the noise that the UNet was trained on."""
    training = {key: value for key, value in SCHEDULER.items() if key != "clip_sample"}  # it has no such key
    return DPMSolverMultistepScheduler(
        **training, algorithm_type="dpmsolver++", lambda_min_clipped=MIN_LOG_SNR,
        steps_offset=1,  # unused with the solver's spacing, but StableDiffusionPipeline insists on it
    )  # fmt: skip
