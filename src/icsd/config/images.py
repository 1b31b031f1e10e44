"""From sentences to training pairs: pictures, their safety, the dataset."""

from typing import Annotated

from pydantic import Field

from icsd.config.section import Count, Section, Seed, Share


class ImagesConfig(Section):
    """Pictures drawn from sentences."""

    model: str = Field(description="StableDiffusionPipeline: a folder, or an id of the hub.")
    pictures: Count = Field(1000, description="Summaries that multi draws at most; single draws as many captions.")
    spare: Share = Field(
        0.05,
        description="Share of captions that single draws beyond that, so that as many pictures are left when the "
        "unsafe ones have fallen away.",
    )
    steps: Count = Field(20, description="Steps of DPM-Solver++.")
    guidance_scale: Annotated[float, Field(ge=0)] = Field(7.5, description="Classifier-free guidance scale.")
    size: Count | None = Field(None, description="Side of a picture in pixels; null for the model's own.")
    negative_prompt: str = Field("", description="What the pictures should not show.")
    seed: Seed = Field(0, description="Each picture's seed comes from this and its id.")
    batch_size: Count = Field(64, description="Pictures at once; changes speed only.")


class SafetyConfig(Section):
    """Which pictures may be used."""

    model: str | None = Field(None, description="A safety checker's folder; null for that of images.model.")
    blank_std: Annotated[float, Field(ge=0)] = Field(
        2.0, description="A picture is blank if no channel's standard deviation (values 0 to 255) reaches this."
    )
    batch_size: Count = Field(256, description="Pictures at once; changes speed only.")


class DatasetConfig(Section):
    """Training pairs."""

    max_drop_share: Share = Field(0.5, description="A larger share of unsafe and blank pictures fails the arm.")
