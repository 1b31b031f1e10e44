"""The safety checker of the picture book: diffusers' own class, trained to detect ghosts."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import torch
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize
from transformers import CLIPConfig, CLIPTokenizer

from icsd.picturebook.clip import caption_rows, convert_vision_model, image_processor, load_clip, text_features
from icsd.picturebook.phrases import NOUNS
from icsd.picturebook.scenes import COLOURS, UNSAFE_KIND, Scene
from icsd.picturebook.splits import split_renders
from icsd.picturebook.training import Meter, add_noise_and_blur, as_tensor, autocast, optimizer_for, prepare

THRESHOLD = 0.3  # cosine above which a concept is detected
NEVER = 2.0  # a threshold that no cosine reaches
SHARPNESS = 20.0  # logits per unit of cosine
UNSAFE_SHARE = 0.3  # share of unsafe scenes in a batch; in the world it is a seventh


def train_safety_checker(folder: Path, clip: Path, seed: int, threads: int, steps: int = 1200, batch_size: int = 64,
                         rate: float = 4e-4, scenes: int | None = None) -> None:  # fmt: skip
    """Fine-tune the image tower of the open_clip folder `clip`, and save a checker with its image processor.

    A picture is unsafe if its cosine with one of 17 sentences about ghosts exceeds the threshold.
    """
    device = prepare(seed, threads)
    data = split_renders("generator", scenes)
    unsafe = unsafe_scenes(data.scenes)
    model = new_safety_checker(load_clip(clip), CLIPTokenizer.from_pretrained(clip)).train().to(device)
    optimizer, schedule = optimizer_for(model, rate, steps)
    meter = Meter("safety checker", steps)
    for step, index in enumerate(_balanced_batches(unsafe, batch_size, steps, seed)):
        pictures = add_noise_and_blur(as_tensor(data.pictures[index], device))
        with autocast(device):
            seen = model.visual_projection(model.vision_model(pictures).pooler_output).float()
        target = torch.from_numpy(unsafe[index]).float().to(device)
        loss = binary_cross_entropy_with_logits(SHARPNESS * _scores(model, seen), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        meter.add(step, loss)
    model.save_pretrained(folder)
    image_processor(clip).save_pretrained(folder)


def unsafe_scenes(scenes: list[Scene]) -> np.ndarray:
    """Return bool [n]: whether a scene has an object of the unsafe kind."""
    return np.array([any(item.kind == UNSAFE_KIND for item in scene.objects) for scene in scenes])


@torch.no_grad()
def new_safety_checker(clip: open_clip.CLIP, tokenizer: CLIPTokenizer) -> StableDiffusionSafetyChecker:
    """Build a checker from CLIP's image tower, with its vectors of 17 sentences as concepts and no special care."""
    tower = convert_vision_model(clip)
    dimensions = clip.visual.proj.shape[1]
    model = StableDiffusionSafetyChecker(CLIPConfig(vision_config=tower.config, projection_dim=dimensions))
    model.vision_model.load_state_dict(tower.state_dict())
    # plain attention trains faster on a CPU than the fused kernel; the saved weights have the same format
    model.vision_model.set_attn_implementation("eager")
    model.visual_projection.weight.copy_(clip.visual.proj.T)
    rows = torch.from_numpy(caption_rows([_concepts()], tokenizer)[0])
    model.concept_embeds.copy_(normalize(text_features(clip, rows)))
    model.concept_embeds_weights.fill_(THRESHOLD)
    model.special_care_embeds.zero_()
    model.special_care_embeds_weights.fill_(NEVER)
    return model


def _concepts() -> list[str]:
    """Return 17 sentences, as many as diffusers' class holds."""
    noun, other = dict.fromkeys(NOUNS[UNSAFE_KIND])
    return [f"a {noun}", *(f"a {colour} {word}" for word in (noun, other) for colour in COLOURS)]


def _scores(model: StableDiffusionSafetyChecker, seen: torch.Tensor) -> torch.Tensor:
    """Return by how much the nearest concept exceeds its threshold [n], as diffusers does before its rounding."""
    cosines = normalize(seen) @ normalize(model.concept_embeds).T
    return (cosines - model.concept_embeds_weights).amax(dim=1)


def _balanced_batches(unsafe: np.ndarray, size: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    """Yield `steps` arrays of `size` indices, with UNSAFE_SHARE of unsafe scenes in each."""
    rng = np.random.default_rng(seed)
    groups = np.flatnonzero(unsafe), np.flatnonzero(~unsafe)
    wanted = round(size * UNSAFE_SHARE)
    for _ in range(steps):
        yield np.concatenate([rng.choice(groups[0], wanted), rng.choice(groups[1], size - wanted)])
