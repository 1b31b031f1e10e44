"""From sentences to training pairs: pictures, their safety, the dataset."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from icsd.config.section import Count, Section, Seed, Share


def _size(value: Any) -> Any:
    sides = value if isinstance(value, list) else [value, value]
    if value is not None and (len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides)):
        raise ValueError("must be a number of pixels, [height, width], or null")
    return value


Size = Annotated[int | list[int] | None, BeforeValidator(_size)]


class ImagesConfig(Section):
    """Pictures drawn from sentences."""

    model: str = Field(description="A text-to-image pipeline of diffusers: a folder, or an id of the hub.")
    pictures: Count = Field(1000, description="Summaries that multi draws at most; single draws as many captions.")
    spare: Share = Field(
        0.05,
        description="Share of captions that single draws beyond that, so that as many pictures are left when the "
        "unsafe ones have fallen away.",
    )
    scheduler: Literal["dpmsolver++", "model"] = Field(
        "dpmsolver++", description="What removes the noise: DPM-Solver++, or the model's own scheduler."
    )
    steps: Count = Field(20, description="Steps of the scheduler.")
    guidance_scale: Annotated[float, Field(ge=0)] = Field(7.5, description="Classifier-free guidance scale.")
    size: Size = Field(None, description="Side of a picture in pixels, or [height, width]; null for the model's own.")
    dtype: Literal["float32", "float16", "bfloat16", "auto"] = Field(
        "float32", description="Numbers the model computes with; auto is float16 on a GPU and float32 without one."
    )
    negative_prompt: str = Field("", description="What the pictures should not show.")
    seed: Seed = Field(0, description="Each picture's seed comes from this and its id.")
    batch_size: Count = Field(64, description="Pictures at once, halved where memory runs out; changes speed only.")
    compile: bool = Field(False, description="Compile the denoiser at the first batch; changes speed only.")
    store: str = Field("results/drawn", description="All pictures, shared by runs; deleting it costs time.")

    def deciding(self) -> dict[str, Any]:
        """What determines the pictures of given sentences, as icsd.stages.images.Drawing takes it."""
        kept = {"model", "scheduler", "steps", "guidance_scale", "size", "dtype", "negative_prompt"}
        return self.model_dump(mode="json", include=kept)


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


class GalleryConfig(Section):
    """The page with the pictures."""

    pictures: Count = Field(2000, description="Pictures of each arm, at most; the captions of all test pictures.")
