"""The captioner's eye: a CLIP vision encoder, its position embeddings interpolated to another size of picture."""

import torch
from torch.nn import functional
from transformers import CLIPImageProcessor, CLIPVisionModel

from icsd.backends.model_folder import model_folder
from icsd.captioner.loading import load_weights, loaded
from icsd.errors import ModelError

KEY = "captioner.vision_model"
FILES = ("config.json", "preprocessor_config.json", "model.safetensors")  # of a repository of the hub
KINDS = ("clip_vision_model", "clip")  # of the second, a whole CLIP, the vision tower is taken


def load_vision(model: str, size: int | None, attention: str) -> tuple[CLIPVisionModel, CLIPImageProcessor]:
    """The encoder and the preparation of its pictures, both for pictures of `size` pixels; None: the model's own."""
    folder = str(model_folder(KEY, model, FILES))
    processor = loaded(CLIPImageProcessor, folder, KEY)
    encoder = load_weights(CLIPVisionModel, folder, KEY, KINDS, attention)
    if size is not None and size != encoder.config.image_size:
        encoder = resized(encoder, size)
        processor.size = {"shortest_edge": size}
        processor.crop_size = {"height": size, "width": size}
    # the norm of the pooled output, which the decoder does not read: processes that train together would wait for
    # its gradient
    encoder.post_layernorm.requires_grad_(False)
    return encoder, processor


def resized(encoder: CLIPVisionModel, size: int) -> CLIPVisionModel:
    """A copy for pictures of `size` pixels: the same weights, the position embeddings interpolated once."""
    patch = encoder.config.patch_size
    if size % patch:
        raise ModelError(f"captioner.image_size={size} must be a multiple of the vision model's patches ({patch})")
    config = type(encoder.config)(**{**encoder.config.to_dict(), "image_size": size})
    weights = encoder.state_dict()
    name = "embeddings.position_embedding.weight"
    weights[name] = interpolated(weights[name], size // patch)
    wider = CLIPVisionModel(config)
    wider.set_attn_implementation(encoder.config._attn_implementation)
    wider.load_state_dict(weights, strict=True)
    return wider


def interpolated(positions: torch.Tensor, side: int) -> torch.Tensor:
    """Position embeddings [1 + side², d] from those [1 + n², d] of another grid: bicubic, the class token's as it is.

    The same numbers as transformers' interpolate_pos_encoding, which works them out anew at every step.
    """
    known = round((len(positions) - 1) ** 0.5)
    grid = positions[1:].reshape(1, known, known, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], grid.permute(0, 2, 3, 1).reshape(side * side, -1)])
