"""Stable Diffusion's safety checker: pictures to scores."""

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

# of a pipeline, or of a checker alone
CHECKER_FILES = (
    "safety_checker/config.json",
    "safety_checker/model.safetensors",
    "feature_extractor/*.json",
    "config.json",
    "preprocessor_config.json",
    "model.safetensors",
)
ADJUSTMENT = 0.01  # what a picture that calls for special care adds to its concepts' scores
DIGITS = 3  # to which diffusers rounds a score before it judges


@dataclass(frozen=True)
class SafetyChecker:
    """diffusers' checker in float32, with the processor of its pictures."""

    model: StableDiffusionSafetyChecker
    processor: CLIPImageProcessor

    def scores(self, pictures: Iterable[Image.Image], batch_size: int) -> Iterator[float]:
        """By how much each picture's nearest concept passes its threshold; unsafe above 0."""
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
    """The highest concept's score [n] from float32 cosines [n, s], [n, c] and their thresholds [s], [c].

    As diffusers' StableDiffusionSafetyChecker.forward judges: a picture is unsafe if its score is above 0.
    """
    care = (np.round(special - special_limits, DIGITS) > 0).any(axis=1, keepdims=True)
    adjustment = np.where(care, np.float32(ADJUSTMENT), np.float32(0))
    return np.round(concepts - limits + adjustment, DIGITS).max(axis=1)


def _cosines(embeddings: torch.Tensor, concepts: torch.Tensor) -> np.ndarray:
    return (normalize(embeddings) @ normalize(concepts).T).float().cpu().numpy()


def load_safety_checker(folder: Path) -> SafetyChecker:
    """The checker of the pipeline in `folder`, or the checker that `folder` itself is.

    On the GPU if there is one. ModelError if there is neither, or its weights are not safetensors.
    """
    transformers_logging.disable_progress_bar()
    whole = (folder / "safety_checker").is_dir()
    # a model file is outside data: whatever is wrong with it, the user needs its name and what was found
    try:
        model, found = StableDiffusionSafetyChecker.from_pretrained(
            folder / "safety_checker" if whole else folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        if found["missing_keys"]:  # transformers would go on with random numbers
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
