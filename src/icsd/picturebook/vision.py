"""The image tower of an open_clip model as a transformers CLIPVisionModel, for the captioner and the safety checker."""

import json
from pathlib import Path

import open_clip
import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from icsd.picturebook.clip import CONFIG, load_clip

# the parts of the towers by their names: transformers' and open_clip's
PARTS = {
    "pre_layrnorm": "ln_pre", "post_layernorm": "ln_post", "embeddings.patch_embedding": "conv1",
}  # fmt: skip
LAYER_PARTS = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}  # fmt: skip


def save_vision_model(clip: Path, folder: Path) -> None:
    """Write the image tower of the open_clip folder `clip` with its picture processor, in half precision, as there."""
    convert_vision_model(load_clip(clip)).half().save_pretrained(folder)
    image_processor(clip).save_pretrained(folder)


def convert_vision_model(model: open_clip.CLIP) -> CLIPVisionModel:
    """The image tower, with the same numbers for every picture."""
    converted = CLIPVisionModel(_vision_config(model))
    converted.load_state_dict(_renamed(model.visual.state_dict(), converted.config.num_hidden_layers), strict=True)
    return converted.eval()


def image_processor(clip: Path) -> CLIPImageProcessor:
    """The preparation of pictures that the open_clip folder `clip` asks for."""
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
    """open_clip's tensors under transformers' names."""
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
    """Query, key and value: one matrix there, three here."""
    target = {}
    for kind in ("weight", "bias"):
        three = source[_block(layer, f"attn.in_proj_{kind}")].chunk(3)
        for name, tensor in zip(("q_proj", "k_proj", "v_proj"), three, strict=True):
            target[f"encoder.layers.{layer}.self_attn.{name}.{kind}"] = tensor
    return target
