"""A safety checker of random weights that finds pictures unsafe."""

from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker, cosine_distance
from PIL import Image
from transformers import CLIPImageProcessor


def make_strict(pipeline: Path, pictures: list[Image.Image], quantile: float) -> None:
    """Set the checker's thresholds so that each concept is found in a share 1 - `quantile` of the pictures."""
    model = StableDiffusionSafetyChecker.from_pretrained(pipeline / "safety_checker").eval()
    processor = CLIPImageProcessor.from_pretrained(pipeline / "feature_extractor")
    with torch.no_grad():
        pixels = processor(pictures, return_tensors="pt")["pixel_values"]
        embeddings = model.visual_projection(model.vision_model(pixels)[1])
    concepts = cosine_distance(embeddings, model.concept_embeds)
    special = cosine_distance(embeddings, model.special_care_embeds)
    model.concept_embeds_weights.data = concepts.quantile(quantile, dim=0)
    model.special_care_embeds_weights.data = special.quantile(quantile - 0.1, dim=0)
    model.save_pretrained(pipeline / "safety_checker")
