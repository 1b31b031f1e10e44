"""Pictures, their safety, the dataset and the gallery."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from icsd.config.section import Count, Section, Seed, Share, tracked, untracked


def _size(value: Any) -> Any:
    sides = value if isinstance(value, list) else [value, value]
    if value is not None and (len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides)):
        raise ValueError("must be a number of pixels, [height, width], or null")
    return value


Size = Annotated[int | list[int] | None, BeforeValidator(_size)]


class ImagesConfig(Section):
    """Pictures drawn from sentences."""

    model: str = tracked(..., "A text-to-image pipeline of diffusers: a folder, or an id of the hub.")
    max_summaries: Count = tracked(1000, "Summaries that multi draws at most; single draws as many captions.")
    spare: Share = tracked(
        0.05,
        "Share of captions that single draws beyond that, so that as many pictures are left when the "
        "unsafe ones have fallen away.",
    )
    scheduler: Literal["dpmsolver++", "model"] = tracked(
        "dpmsolver++", "Scheduler of the denoising: DPM-Solver++, or the model's own."
    )
    steps: Count = tracked(20, "Steps of the scheduler.")
    guidance_scale: Annotated[float, Field(ge=0)] = tracked(7.5, "Classifier-free guidance scale.")
    size: Size = tracked(None, "Side of a picture in pixels, or [height, width]; null for the model's own.")
    dtype: Literal["float32", "float16", "bfloat16", "auto"] = tracked(
        "float32", "Numbers the model computes with; auto is float16 on a GPU and float32 without one."
    )
    negative_prompt: str = tracked("", "Content that the pictures should not show.")
    seed: Seed = tracked(0, "Each picture's seed comes from this and its id.")
    batch_size: Count = untracked(64, "Pictures at once, halved where memory runs out.")
    compile: bool = untracked(False, "Compile the denoiser at the first batch.")
    store: str = untracked("results/drawn", "All pictures, shared by runs; deleting it costs time.")


class SafetyConfig(Section):
    """The checks of drawn pictures."""

    model: str | None = tracked(None, "A safety checker's folder; null for that of images.model.")
    blank_std: Annotated[float, Field(ge=0)] = tracked(
        2.0, "A picture is blank if no channel's standard deviation (values 0 to 255) reaches this."
    )
    batch_size: Count = untracked(256, "Pictures at once.")


class DatasetConfig(Section):
    """Training pairs."""

    max_drop_share: Share = tracked(0.5, "A larger share of unsafe and blank pictures fails the arm.")


class GalleryConfig(Section):
    """The page with the pictures."""

    pictures: Count = tracked(2000, "Pictures of each arm, at most; the captions of all test pictures.")
