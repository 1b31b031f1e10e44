"""The image encoder of the paper's captioner: load it, for pictures of another size too."""

import torch
from torch.nn import functional
from transformers import CLIPImageProcessor, CLIPVisionModel

from icsd.config.captioner import Fit
from icsd.core.errors import ModelError
from icsd.models.model_folder import model_folder
from icsd.stages.captioner.loading import load_weights, loaded

VISION_KEY = "captioner.vision_model"
VISION_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")  # to download from the hub
KINDS = ("clip_vision_model", "clip")  # the second is a whole CLIP, of which only the vision tower is used


def load_vision(model: str, size: int | None, attention: str) -> tuple[CLIPVisionModel, CLIPImageProcessor]:
    """Load the encoder and its image processor for pictures of `size` pixels, None for the model's own size."""
    folder = str(model_folder(VISION_KEY, model, VISION_FILES))
    processor = loaded(CLIPImageProcessor, folder, VISION_KEY)
    encoder = load_weights(CLIPVisionModel, folder, VISION_KEY, KINDS, attention)
    if size is not None and size != encoder.config.image_size:
        encoder = resized(encoder, size)
        processor.size = {"shortest_edge": size}
        processor.crop_size = {"height": size, "width": size}
    # the decoder does not read the pooled output: distributed training would wait for the gradient of its norm
    encoder.post_layernorm.requires_grad_(False)
    return encoder, processor


def set_fit(processor: CLIPImageProcessor, size: int, fit: Fit) -> None:
    """Make transformers' processor fit pictures as `Square` does; it pads where it crops a picture that is smaller."""
    if fit == "crop":  # its own
        return
    processor.size = {"height": size, "width": size} if fit == "squash" else {"max_height": size, "max_width": size}
    processor.do_center_crop, processor.crop_size = fit == "pad", {"height": size, "width": size}


def resized(encoder: CLIPVisionModel, size: int) -> CLIPVisionModel:
    """Copy an encoder for pictures of `size` pixels, with interpolated position embeddings."""
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
    """Interpolate position embeddings [1 + n², d] to [1 + side², d]: bicubic; the class token's stays as it is.

    The numbers equal those of transformers' interpolate_pos_encoding, which computes them at every step.
    """
    known = round((len(positions) - 1) ** 0.5)
    grid = positions[1:].reshape(1, known, known, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], grid.permute(0, 2, 3, 1).reshape(side * side, -1)])
