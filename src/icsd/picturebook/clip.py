"""The CLIP model of the picture book: its training, and its image tower in the format of transformers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transformer import VisionTransformer, text_global_pool
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPImageProcessor, CLIPTokenizer, CLIPVisionConfig, CLIPVisionModel

from icsd.picturebook.drawing import PIXELS
from icsd.picturebook.scenes import COLOURS, KINDS
from icsd.picturebook.splits import colour_labels, split_renders
from icsd.picturebook.tokenizers import CONTEXT_LENGTH, save_tokenizer, tokenize
from icsd.picturebook.training import Meter, add_noise_and_blur, as_tensor, autocast, batches, optimizer_for, prepare

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
WIDTH = 128
PATCHES = 8  # on a side: of 4 × 4 pixels in the picture book
OBJECT_LOSS_WEIGHT = 4.0
MAX_LOGIT_SCALE = float(np.log(100))  # Radford et al., 2021


@dataclass(frozen=True)
class ClipData:
    """Square pictures uint8 [n, side, side, 3], and as many captions of each.

    `objects` int64 [n, kinds], as of `colour_labels`, are for the auxiliary loss.
    """

    pictures: np.ndarray
    captions: list[list[str]]
    objects: np.ndarray | None = None


def clip_config(vocabulary: int, pixels: int = PIXELS) -> dict[str, Any]:
    """Return the model's part of `open_clip_config.json`: 8 × 8 patches, text pooled at the end token."""
    vision = {"image_size": pixels, "patch_size": pixels // PATCHES, "width": WIDTH, "head_width": 32, "layers": 4}
    text = {"context_length": CONTEXT_LENGTH, "vocab_size": vocabulary, "width": 96, "heads": 3, "layers": 3}
    # any name makes open_clip read the folder's own tokenizer instead of OpenAI's
    return {"embed_dim": WIDTH, "vision_cfg": vision, "text_cfg": {**text, "hf_tokenizer_name": "of this folder"}}


def train_clip(folder: Path, tokenizer: CLIPTokenizer, seed: int, threads: int, steps: int = 1800,
               batch_size: int = 256, rate: float = 2e-3, scenes: int | None = None) -> None:  # fmt: skip
    """Train on the generator split, and save an open_clip folder."""
    data = split_renders("generator", scenes)
    labelled = ClipData(data.pictures, data.captions, colour_labels(data.scenes))
    train_clip_on(labelled, folder, tokenizer, seed, threads, steps, batch_size, rate)


def train_clip_on(data: ClipData, folder: Path, tokenizer: CLIPTokenizer, seed: int, threads: int, steps: int,
                  batch_size: int, rate: float) -> None:  # fmt: skip
    """Train on `data`, one of a picture's captions at a time, and save an open_clip folder.

    An auxiliary loss makes up for CLIP's 400 million pairs: the patch tokens classify the objects of the picture. Data
    without objects is trained without it.
    """
    device = prepare(seed, threads)
    rows = caption_rows(data.captions, tokenizer)
    pixels = data.pictures.shape[1]
    model = open_clip.CLIP(**clip_config(len(tokenizer), pixels)).to(device)
    classifier = nn.Linear(WIDTH, len(KINDS) * (1 + len(COLOURS))).to(device)
    labels = None if data.objects is None else torch.from_numpy(data.objects).to(device)
    optimizer, schedule = optimizer_for(nn.ModuleList([model, classifier]), rate, steps)
    rng, meter = np.random.default_rng(seed), Meter("clip", steps)
    for step, index in enumerate(batches(len(rows), batch_size, steps, seed)):
        pictures = add_noise_and_blur(as_tensor(data.pictures[index], device))
        captions = torch.from_numpy(rows[index, rng.integers(rows.shape[1], size=len(index))]).to(device)
        with autocast(device):
            tokens = picture_tokens(model.visual, pictures)
            logits = classifier(tokens[:, 1:]).float()
            image, text = _pooled(model.visual, tokens).float(), text_features(model, captions).float()
        loss = contrastive_loss(image, text, model.logit_scale.exp(), captions)
        if labels is not None:
            loss = loss + OBJECT_LOSS_WEIGHT * object_loss(logits, labels[index])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        model.logit_scale.data.clamp_(max=MAX_LOGIT_SCALE)
        meter.add(step, loss)
    save_clip(model, tokenizer, folder, pixels)


def caption_rows(captions: list[list[str]], tokenizer: CLIPTokenizer) -> np.ndarray:
    """Return token ids int64 [n, captions, t]: start, words, end, zeros. t is the length of the longest caption."""
    data = tokenize(captions, tokenizer)
    longest = max(len(ids) for group in data.ids for ids in group)
    rows = np.zeros((len(captions), len(captions[0]), longest + 2), dtype=np.int64)
    for row, group in zip(rows, data.ids, strict=True):
        for line, ids in zip(row, group, strict=True):
            line[: len(ids) + 2] = [data.start, *ids, data.end]
    return rows


def picture_tokens(tower: VisionTransformer, pictures: torch.Tensor) -> torch.Tensor:
    """Return the last layer's output [n, 65, d] before the final norm, class token first. The captioner reads it."""
    return tower.transformer(tower._embeds(pictures))


def _pooled(tower: VisionTransformer, tokens: torch.Tensor) -> torch.Tensor:
    return tower.ln_post(tokens[:, 0]) @ tower.proj


def text_features(model: open_clip.CLIP, rows: torch.Tensor) -> torch.Tensor:
    """Return the output of `encode_text` for rows cut after the longest sentence, since the tower is causal."""
    length = rows.shape[1]
    states = model.token_embedding(rows) + model.positional_embedding[:length]
    states = model.ln_final(model.transformer(states, attn_mask=model.attn_mask[:length, :length]))
    return text_global_pool(states, rows, "argmax") @ model.text_projection


def contrastive_loss(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return CLIP's symmetric loss on [n, d] and [n, d]. Equal captions of a batch share the target."""
    logits = scale * normalize(image) @ normalize(text).T
    same = (rows[:, None] == rows[None]).all(dim=-1).float()
    target = same / same.sum(dim=1, keepdim=True)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def object_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of each kind's colour or absence, from logits [n, patches, kinds * (1 + colours)].

    As in the probe, a class has the highest logit of all patches.
    """
    best = logits.amax(dim=1).view(-1, 1 + len(COLOURS))
    return cross_entropy(best, labels.flatten())


def save_clip(model: open_clip.CLIP, tokenizer: CLIPTokenizer, folder: Path, pixels: int) -> None:
    """Write an open_clip folder: configuration, tokenizer, and safetensors weights in half precision."""
    save_tokenizer(tokenizer, folder)
    preprocessing = {
        "size": pixels, "mode": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic",
        "resize_mode": "shortest",
    }  # fmt: skip
    config = {"model_cfg": clip_config(len(tokenizer), pixels), "preprocess_cfg": preprocessing}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: tensor.detach().cpu().half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)


def load_clip(folder: Path) -> open_clip.CLIP:
    """Load the trained model, in evaluation mode."""
    return open_clip.create_model(f"local-dir:{folder}").eval()


# --- The image tower in the format of transformers -------------------------------------------------------------------
# names of the towers' parts in transformers and in open_clip
PARTS = {
    "pre_layrnorm": "ln_pre", "post_layernorm": "ln_post", "embeddings.patch_embedding": "conv1",
}  # fmt: skip
LAYER_PARTS = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}  # fmt: skip


def save_vision_model(clip: Path, folder: Path) -> None:
    """Write the image tower of the open_clip folder `clip` and its image processor, in half precision."""
    convert_vision_model(load_clip(clip)).half().save_pretrained(folder)
    image_processor(clip).save_pretrained(folder)


def convert_vision_model(model: open_clip.CLIP) -> CLIPVisionModel:
    """Convert the image tower. The outputs are the same for every picture."""
    converted = CLIPVisionModel(_vision_config(model))
    converted.load_state_dict(_renamed(model.visual.state_dict(), converted.config.num_hidden_layers), strict=True)
    return converted.eval()


def image_processor(clip: Path) -> CLIPImageProcessor:
    """Return the image processor that the configuration of the open_clip folder `clip` describes."""
    settings = json.loads((clip / CONFIG).read_text())["preprocess_cfg"]
    side = settings["size"]
    return CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}, image_mean=settings["mean"],
        image_std=settings["std"],
    )  # fmt: skip


def _vision_config(model: open_clip.CLIP) -> CLIPVisionConfig:
    tower = model.visual
    width, (side, _), (patch, _) = tower.conv1.out_channels, tower.image_size, tower.patch_size
    block = tower.transformer.resblocks[0]
    return CLIPVisionConfig(
        hidden_size=width, intermediate_size=block.mlp.c_fc.out_features, projection_dim=tower.proj.shape[1],
        num_hidden_layers=len(tower.transformer.resblocks), num_attention_heads=block.attn.num_heads,
        image_size=side, patch_size=patch, hidden_act="gelu",
    )  # fmt: skip


def _renamed(source: dict[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """Return open_clip's tensors under the names of transformers."""
    parts = dict(PARTS)
    for layer in range(layers):
        parts |= {f"encoder.layers.{layer}.{new}": _block(layer, old) for new, old in LAYER_PARTS.items()}
    target = {
        f"{new}.{kind}": source[f"{old}.{kind}"]
        for new, old in parts.items()
        for kind in ("weight", "bias")
        if f"{old}.{kind}" in source  # the convolution has no bias
    }
    target["embeddings.class_embedding"] = source["class_embedding"]
    target["embeddings.position_embedding.weight"] = source["positional_embedding"]
    for layer in range(layers):
        target |= _attention(source, layer)
    return target


def _block(layer: int, part: str) -> str:
    return f"transformer.resblocks.{layer}.{part}"


def _attention(source: dict[str, torch.Tensor], layer: int) -> dict[str, torch.Tensor]:
    """Split open_clip's one matrix into the query, key and value of transformers."""
    target = {}
    for kind in ("weight", "bias"):
        three = source[_block(layer, f"attn.in_proj_{kind}")].chunk(3)
        for name, tensor in zip(("q_proj", "k_proj", "v_proj"), three, strict=True):
            target[f"encoder.layers.{layer}.self_attn.{name}.{kind}"] = tensor
    return target
