"""Scores of pictures by Stable Diffusion's safety checker; `stages.safety` decides by them which are unsafe."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from PIL import Image
from torch.nn.functional import normalize
from transformers import CLIPImageProcessor
from transformers.utils import logging as transformers_logging

from icsd.core.errors import ModelError

# files of a pipeline, or of a checker alone
CHECKER_FILES = (
    "safety_checker/config.json",
    "safety_checker/model.safetensors",
    "feature_extractor/*.json",
    "config.json",
    "preprocessor_config.json",
    "model.safetensors",
)
ADJUSTMENT = 0.01  # added to the concepts' scores of a picture that needs special care
DIGITS = 3  # diffusers rounds scores before it compares them


@dataclass(frozen=True)
class SafetyChecker:
    """The checker of diffusers in float32, with its image processor."""

    model: StableDiffusionSafetyChecker
    processor: CLIPImageProcessor

    def scores(self, pictures: Iterable[Image.Image], batch_size: int) -> Iterator[float]:
        """Yield the score of each picture, from `concept_scores`; unsafe above 0."""
        batch: list[Image.Image] = []
        for picture in pictures:
            batch.append(picture)
            if len(batch) == batch_size:
                yield from self._scores(batch)
                batch = []
        if batch:
            yield from self._scores(batch)

    @torch.inference_mode()
    def _scores(self, pictures: Sequence[Image.Image]) -> list[float]:
        pixels = self.processor(list(pictures), return_tensors="pt")["pixel_values"].to(self.model.device)
        embeddings = self.model.visual_projection(self.model.vision_model(pixels)[1])
        special = _cosines(embeddings, self.model.special_care_embeds)
        concepts = _cosines(embeddings, self.model.concept_embeds)
        return concept_scores(
            special,
            concepts,
            self.model.special_care_embeds_weights.cpu().numpy(),
            self.model.concept_embeds_weights.cpu().numpy(),
        ).tolist()


def concept_scores(
    special: np.ndarray, concepts: np.ndarray, special_limits: np.ndarray, limits: np.ndarray
) -> np.ndarray:
    """Compute the highest concept score [n] from float32 cosines [n, s], [n, c] and their thresholds [s], [c].

    The rule is that of diffusers' StableDiffusionSafetyChecker.forward: a picture is unsafe if its score is above 0.
    """
    care = (np.round(special - special_limits, DIGITS) > 0).any(axis=1, keepdims=True)
    adjustment = np.where(care, np.float32(ADJUSTMENT), np.float32(0))
    return np.round(concepts - limits + adjustment, DIGITS).max(axis=1)


def _cosines(embeddings: torch.Tensor, concepts: torch.Tensor) -> np.ndarray:
    return (normalize(embeddings) @ normalize(concepts).T).float().cpu().numpy()


def load_safety_checker(folder: Path) -> SafetyChecker:
    """Load the checker from a pipeline's folder or from its own, on the GPU if there is one.

    ModelError if the folder has neither, or if its weights are not safetensors.
    """
    transformers_logging.disable_progress_bar()
    whole = (folder / "safety_checker").is_dir()
    # a model file is outside data: any error becomes a message with its name
    try:
        model, found = StableDiffusionSafetyChecker.from_pretrained(
            folder / "safety_checker" if whole else folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        if found["missing_keys"]:  # transformers would fill them with random numbers
            raise ValueError(f"its weights lack {sorted(found['missing_keys'])[0]}")
        processor = CLIPImageProcessor.from_pretrained(
            folder / "feature_extractor" if whole else folder, local_files_only=True
        )
    except Exception as error:
        needs = "a pipeline folder with safety_checker and feature_extractor, or a checker's own"
        message = (
            f"safety.model or images.model: diffusers cannot load the safety checker in {folder}: {error}; give {needs}"
        )
        raise ModelError(f"{message}, with safetensors weights, in config/config.yaml") from error
    return SafetyChecker(model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), processor)
