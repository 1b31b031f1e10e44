"""The CLIP model of the picture book: an open_clip folder of two small towers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transformer import VisionTransformer, text_global_pool
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPTokenizer

from icsd.picturebook.drawing import PIXELS
from icsd.picturebook.renders import colour_labels, split_renders
from icsd.picturebook.scenes import COLOURS, KINDS
from icsd.picturebook.tokenizers import CONTEXT_LENGTH, save_tokenizer, tokenize
from icsd.picturebook.training import Meter, as_tensor, autocast, batches, optimizer_for, prepare, roughened

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
WIDTH = 128
PREPROCESSING = {
    "size": PIXELS, "mode": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic",
    "resize_mode": "shortest",
}  # fmt: skip
OBJECT_LOSS_WEIGHT = 4.0
MAX_LOGIT_SCALE = float(np.log(100))  # as in Radford et al., 2021


def clip_config(vocabulary: int) -> dict[str, Any]:
    """The model's part of `open_clip_config.json`: patches of 4 × 4 pixels, the end mark pooled."""
    vision = {"image_size": PIXELS, "patch_size": 4, "width": WIDTH, "head_width": 32, "layers": 4}
    text = {"context_length": CONTEXT_LENGTH, "vocab_size": vocabulary, "width": 96, "heads": 3, "layers": 3}
    # any name makes open_clip read the folder's own tokenizer, and not that of OpenAI
    return {"embed_dim": WIDTH, "vision_cfg": vision, "text_cfg": {**text, "hf_tokenizer_name": "of this folder"}}


def train_clip(folder: Path, tokenizer: CLIPTokenizer, seed: int, threads: int, steps: int = 1800,
               batch_size: int = 256, rate: float = 2e-3, scenes: int | None = None) -> None:  # fmt: skip
    """Train on the generator split, one of a picture's captions at a time, and save an open_clip folder.

    A second loss makes up for CLIP's 400 million pairs: the patch tokens must tell which objects are there.
    """
    device = prepare(seed, threads)
    data = split_renders("generator", scenes)
    rows = caption_rows(data.captions, tokenizer)
    labels = torch.from_numpy(colour_labels(data.scenes)).to(device)
    model = open_clip.CLIP(**clip_config(len(tokenizer))).to(device)
    head = nn.Linear(WIDTH, len(KINDS) * (1 + len(COLOURS))).to(device)
    optimizer, schedule = optimizer_for(nn.ModuleList([model, head]), rate, steps)
    rng, meter = np.random.default_rng(seed), Meter("clip", steps)
    for step, index in enumerate(batches(len(rows), batch_size, steps, seed)):
        pictures = roughened(as_tensor(data.pictures[index], device))
        said = torch.from_numpy(rows[index, rng.integers(rows.shape[1], size=len(index))]).to(device)
        with autocast(device):
            tokens = picture_tokens(model.visual, pictures)
            logits = head(tokens[:, 1:]).float()
            image, text = _pooled(model.visual, tokens).float(), text_features(model, said).float()
        contrastive = contrastive_loss(image, text, model.logit_scale.exp(), said)
        loss = contrastive + OBJECT_LOSS_WEIGHT * object_loss(logits, labels[index])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        model.logit_scale.data.clamp_(max=MAX_LOGIT_SCALE)
        meter.add(step, loss)
    save_clip(model, tokenizer, folder)


def caption_rows(captions: list[list[str]], tokenizer: CLIPTokenizer) -> np.ndarray:
    """Int64 [n, captions, t]: start mark, words, end mark, zeros; t is the longest caption's."""
    data = tokenize(captions, tokenizer)
    longest = max(len(ids) for group in data.ids for ids in group)
    rows = np.zeros((len(captions), len(captions[0]), longest + 2), dtype=np.int64)
    for row, group in zip(rows, data.ids, strict=True):
        for line, ids in zip(row, group, strict=True):
            line[: len(ids) + 2] = [data.start, *ids, data.end]
    return rows


def picture_tokens(tower: VisionTransformer, pictures: torch.Tensor) -> torch.Tensor:
    """The last layer's output [n, 65, d], class token first, before the last norm: what the captioner is given."""
    return tower.transformer(tower._embeds(pictures))


def _pooled(tower: VisionTransformer, tokens: torch.Tensor) -> torch.Tensor:
    return tower.ln_post(tokens[:, 0]) @ tower.proj


def text_features(model: open_clip.CLIP, rows: torch.Tensor) -> torch.Tensor:
    """What `encode_text` gives, for rows cut off after the longest sentence: the tower is causal."""
    length = rows.shape[1]
    states = model.token_embedding(rows) + model.positional_embedding[:length]
    states = model.ln_final(model.transformer(states, attn_mask=model.attn_mask[:length, :length]))
    return text_global_pool(states, rows, "argmax") @ model.text_projection


def contrastive_loss(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric loss on [n, d], [n, d]; equal captions of a batch share the target."""
    logits = scale * normalize(image) @ normalize(text).T
    same = (rows[:, None] == rows[None]).all(dim=-1).float()
    target = same / same.sum(dim=1, keepdim=True)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def object_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each kind's colour or absence, from logits [n, patches, kinds * (1 + colours)].

    As in the probe, the patch that is surest of a class speaks for the picture.
    """
    best = logits.amax(dim=1).view(-1, 1 + len(COLOURS))
    return cross_entropy(best, labels.flatten())


def save_clip(model: open_clip.CLIP, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """An open_clip folder: configuration, safetensors weights in half precision to save room, tokenizer."""
    save_tokenizer(tokenizer, folder)
    config = {"model_cfg": clip_config(len(tokenizer)), "preprocess_cfg": PREPROCESSING}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: tensor.detach().cpu().half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)


def load_clip(folder: Path) -> open_clip.CLIP:
    """The trained model, in evaluation mode."""
    return open_clip.create_model(f"local-dir:{folder}").eval()
