"""Pictures, how well they show their captions, their safety, the dataset and the gallery."""

from collections.abc import Sequence, Set
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from icsd.config.estimate import EstimateConfig
from icsd.config.section import Address, Count, Price, Section, Seed, Share, VariableName, added, tracked, untracked


def _size(value: Any) -> Any:
    sides = value if isinstance(value, list) else [value, value]
    if value is not None and (len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides)):
        raise ValueError("must be a number of pixels, [height, width], or null")
    return value


Size = Annotated[int | list[int] | None, BeforeValidator(_size)]
Parameter = bool | int | float | str
# keys of `images` that decide what is drawn, and not how
WHAT_IS_DRAWN = ("max_summaries", "spare", "seed", "candidates", "redraw_below", "max_images")
# keys of `images` that a server does not read
PIPELINE_KEYS = frozenset({
    "model", "scheduler", "steps", "guidance_scale", "dtype", "negative_prompt", "parameters", "lora", "quantize",
})  # fmt: skip
OWN_FIELDS = ("model", "prompt", "n", "size", "response_format")  # of a request for an image


def height_and_width(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Return height and width in pixels of `images.size`; None for the model's own."""
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


class ImageServerConfig(Section):
    """A server with OpenAI's /images/generations."""

    base_url: Address = untracked("http://localhost:8000/v1", "The server's address.")
    model: str = tracked("Qwen/Qwen-Image", "The model's name there.")
    parameters: dict[str, Parameter | dict[str, Parameter]] = tracked(
        {}, "Further fields of each request, such as num_inference_steps (vLLM-Omni), step (LocalAI), quality (OpenAI)."
    )
    seed_parameter: str | None = tracked(
        "seed", "The field of a request that has the picture's seed; null for a server that takes none, as OpenAI's."
    )
    api_key_env: VariableName | None = untracked(
        None, "The environment variable that holds the key; null for a server without keys."
    )
    timeout_s: Count = untracked(300, "Seconds to wait for a picture.")
    retries: Annotated[int, Field(ge=0)] = untracked(
        5, "Retries of a request after 429, 5xx, lost connections, time-outs and replies without a picture."
    )
    concurrency: Count = untracked(8, "Requests under way at once in a job, at most.")
    usd_per_image: Price = untracked(0.0, "USD for a picture.")

    @model_validator(mode="after")
    def _fields_are_not_set_twice(self) -> "ImageServerConfig":
        own = {*OWN_FIELDS, *([self.seed_parameter] if self.seed_parameter else [])}
        if doubled := sorted(own & self.parameters.keys()):
            raise ValueError(f"parameters has {doubled[0]}, which other keys of the config set")
        return self


class ImageLoraConfig(Section):
    """LoRA weights: a small change of the pipeline's weights."""

    model: str = tracked(..., "A safetensors file, a folder with one, or an id of the hub.")
    file: str | None = tracked(None, "The file in the folder; null where there is only one.")
    scale: float = tracked(1.0, "Factor of the change.")


class ImagesConfig(Section):
    """Pictures drawn from sentences."""

    provider: Literal["diffusers", "openai"] = added(
        "diffusers", "diffusers draws in the job; openai asks a server that has OpenAI's /images/generations."
    )
    model: str = tracked(..., "A text-to-image pipeline of diffusers: a folder, or an id of the hub.")
    max_summaries: Count = tracked(1000, "Summaries, or groups, that an arm draws at most; single as many captions.")
    spare: Share = tracked(
        0.05,
        "Share of captions that single draws beyond that, so that as many pictures are left when the "
        "unsafe ones have fallen away.",
    )
    scheduler: Literal["dpmsolver++", "model"] = tracked(
        "dpmsolver++", "Scheduler of the denoising: DPM-Solver++, or the model's own."
    )
    steps: Count = tracked(20, "Steps of the scheduler.")
    guidance_scale: Annotated[float, Field(ge=0)] | None = tracked(
        7.5, "Guidance scale; 0 or 1 is none, null the pipeline's own."
    )
    size: Size = tracked(None, "Side of a picture in pixels, or [height, width]; null for the model's own.")
    dtype: Literal["float32", "float16", "bfloat16", "auto"] = tracked(
        "float32", "Numbers the model computes with; auto is float16 on a GPU and float32 without one."
    )
    negative_prompt: str = tracked("", "Content that the pictures should not show.")
    parameters: dict[str, Parameter | None] = added(
        {},
        "Further arguments of the pipeline's call, such as true_cfg_scale and max_sequence_length.",
    )
    lora: list[ImageLoraConfig] = added([], "LoRA weights that are added to the pipeline's.")
    quantize: Literal["none", "8bit", "4bit"] = added(
        "none", "Bits of a weight of denoiser and text encoders, by bitsandbytes, on a GPU."
    )
    seed: Seed = tracked(0, "Each picture's seed comes from this and its id.")
    candidates: Annotated[int, Field(ge=1, le=100)] = tracked(
        1, "Most pictures that are drawn of a sentence; the one that shows its captions best is used."
    )
    redraw_below: float | None = tracked(
        None,
        "A further candidate is drawn only where the mean score of the captions is below this in all earlier ones; "
        "null draws all candidates of every sentence.",
    )
    max_images: Count | None = tracked(
        None,
        "No candidate is added once an arm has so many pictures; the lowest scores get one first; null: no limit.",
    )
    batch_size: Count = untracked(64, "Pictures at once, halved where memory runs out.")
    compile: bool = untracked(False, "Compile the denoiser at the first batch.")
    offload: Literal["none", "model", "sequential"] = untracked(
        "none", "Parts that wait in the machine's memory: model moves whole parts to the GPU, sequential single layers."
    )
    untried: bool = untracked(
        False, "Load a pipeline class too that no test draws with, judged by the arguments of its call."
    )
    store: str = untracked("results/drawn", "All pictures, shared by runs; deleting it costs time, and money.")
    max_drop_share: Share = untracked(
        0.1, "A larger share of sentences without a picture of the server, those not refused, fails the shard."
    )
    budget_usd: Price | None = untracked(
        None, "Limit in USD of a run's spending on pictures of a server; null for no limit."
    )
    openai: ImageServerConfig = ImageServerConfig()

    @property
    def height_and_width(self) -> tuple[int, int] | None:
        """The size in pixels; None for the model's own."""
        return height_and_width(self.size)

    @property
    def drawing(self) -> dict[str, Any]:
        """The tracked keys that determine an image of a sentence."""
        return self.params(without=WHAT_IS_DRAWN)

    @property
    def unused(self) -> Set[str]:
        """The keys that the provider turns off: the server's, or those of the pipeline."""
        return {"openai"} if self.provider == "diffusers" else PIPELINE_KEYS

    @property
    def models(self) -> tuple[str, ...]:
        """The models that a job loads."""
        return (self.model, *(lora.model for lora in self.lora)) if self.provider == "diffusers" else ()

    @property
    def llm_requests(self) -> int:
        """The most requests that a job has in flight."""
        return self.openai.concurrency if self.provider == "openai" else 0

    def rate(self, rates: EstimateConfig) -> float:
        """The pictures a second that a job gets."""
        if self.provider == "diffusers":
            return rates.images_per_second
        return self.openai.concurrency / rates.seconds_per_image_request

    @model_validator(mode="after")
    def _budget_has_a_price(self) -> "ImagesConfig":
        if self.provider == "openai" and self.budget_usd is not None and not self.openai.usd_per_image:
            raise ValueError(f"budget_usd={self.budget_usd:g} needs openai.usd_per_image, the price of a picture")
        return self


# keys of `alignment` that drop, add or weigh pairs; their defaults do not
SELECTING = ("min_score", "drop_share", "max_below_best", "min_sentence_score", "weight_temperature", "rematch")


class AlignmentConfig(Section):
    """How well a picture shows each of its captions, and which pairs are dropped for it."""

    model: str | None = tracked(
        None, "An open_clip model, CLIP or SigLIP: architecture/pretrained, a folder, or an id of the hub; null: none."
    )
    score: Literal["cosine", "random", "probe"] = tracked(
        "cosine",
        "Score of a pair: cosine of the model's vectors of picture and caption; random, a control that needs no model; "
        "probe, the share of the caption's objects that the picture book's detector sees, for its benchmark.",
    )
    min_score: float | None = tracked(None, "A pair with a lower score is dropped; null: none.")
    drop_share: Annotated[float, Field(ge=0, lt=1)] = tracked(
        0.0, "Share of an arm's pairs that are dropped, those with the lowest scores."
    )
    max_below_best: Annotated[float, Field(ge=0)] | None = tracked(
        None,
        "A pair is dropped if its score is further than this below the best of its picture; null: none.",
    )
    min_sentence_score: float | None = tracked(
        None, "A picture is dropped with all its pairs if the score of its sentence is lower; null: none."
    )
    weight_temperature: Annotated[float, Field(gt=0)] | None = tracked(
        None, "A pair weighs exp(score / temperature) in the training's loss, 1 on average; null: all weigh the same."
    )
    rematch: Annotated[int, Field(ge=0, le=1000)] = tracked(
        0, "Nearest pictures of the arm of which a caption without a pair gets the best; 0: none."
    )
    batch_size: Count = untracked(256, "Pictures or captions at once.")

    @property
    def scores(self) -> bool:
        """True if pairs get scores."""
        return self.model is not None or self.score != "cosine"

    @property
    def selection(self) -> dict[str, Any]:
        """The keys that drop, add or weigh pairs, with their values; not those that are off."""
        off = {name: type(self).model_fields[name].default for name in SELECTING}
        return {name: value for name in SELECTING if (value := getattr(self, name)) != off[name]}

    @property
    def selects(self) -> bool:
        """True if a key drops, adds or weighs pairs."""
        return bool(self.selection)

    @property
    def scorer(self) -> dict[str, Any]:
        """The keys that determine the scores, for a rule's params."""
        return self.params("score", *(["model"] if self.score == "cosine" else []))


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
    real_share: Annotated[float, Field(gt=0, le=1)] = added(
        1.0, "Share of the photographs that the arm real trains on; a smaller share is part of a larger one."
    )


class GalleryConfig(Section):
    """The page with the pictures."""

    pictures: Count = tracked(2000, "Pictures of each arm, at most; the captions of all test pictures.")
