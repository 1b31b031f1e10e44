"""The config: every key with its type, limits and one sentence. config/config.yaml holds the default run's values."""

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from icsd.errors import ConfigError
from icsd.sharding import shard_names

SOURCE = "config/config.yaml, or in the file given with --configfile"
ARMS = ("multi", "single", "single_matched", "multi_head", "real")
SHOWN_CHARACTERS = 60

Arm = Literal["multi", "single", "single_matched", "multi_head", "real"]
Share = Annotated[float, Field(ge=0, le=1)]
Price = Annotated[float, Field(ge=0)]
PromptName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A mapping of the config: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class CaptionsConfig(Section):
    """The corpus of captions."""

    annotations: str = Field(
        description="COCO annotation JSON whose captions are the corpus; its pictures are not read."
    )
    split: str = Field("train", description="What the captions' split column says.")
    max_characters: Count = Field(
        1000, description="A longer caption is an error: no sentence that people say of a picture."
    )


class PicturesSplit(Section):
    """Real pictures with their captions."""

    annotations: str = Field(description="COCO annotation JSON.")
    images: str = Field(description="The folder with the files that it names.")


class PicturesConfig(Section):
    """The real pictures: for the arm `real`, to choose checkpoints (val) and for the scores (test)."""

    real: PicturesSplit | None = Field(None, description="Pairs for the arm real; null where a corpus has none.")
    val: PicturesSplit = Field(description="Pictures that choose each training's checkpoint.")
    test: PicturesSplit = Field(description="Pictures that the trained captioners are scored on, once.")


class EmbeddingsConfig(Section):
    """Vectors of captions."""

    model: str = Field(description="open_clip model: a folder, or architecture/pretrained.")
    batch_size: Count = Field(256, description="Captions at once; changes speed only.")


class GroupsConfig(Section):
    """Each caption with its nearest."""

    k: Annotated[int, Field(ge=2)] = Field(30, description="Captions a group, the head included.")


class OpenAIConfig(Section):
    """An OpenAI-compatible endpoint."""

    base_url: str = Field("https://api.openai.com/v1", description="The endpoint's address.")
    model: str = Field("gpt-4o-mini", description="The model's name there.")
    api_key_env: str | None = Field(
        "OPENAI_API_KEY", description="The environment variable that holds the key; null for a server without keys."
    )
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(0.0, description="Null leaves it to the server.")
    max_tokens: Count = Field(500, description="Tokens of an answer at most.")
    timeout_s: Count = Field(60, description="Seconds to wait for an answer.")
    retries: Annotated[int, Field(ge=0)] = Field(
        5, description="How often a request is sent again after 429, 5xx, cuts and time-outs."
    )
    concurrency: Count = Field(16, description="Requests under way at once in a job, at most.")
    structured_output: bool = Field(
        True, description="Send the answer's JSON schema; where the server takes none, answers are checked here alone."
    )
    prompt_usd_per_million: Price = Field(0.15, description="USD for a million prompt tokens.")
    completion_usd_per_million: Price = Field(0.60, description="USD for a million answer tokens.")


class BatchConfig(Section):
    """OpenAI's Batch API: answers within a day, at half the price. All else is as in the section openai."""

    max_requests: Annotated[int, Field(ge=1, le=50_000)] = Field(50_000, description="Requests a batch at most.")
    max_bytes: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        100_000_000, description="Bytes of a batch's file at most."
    )
    enqueued_tokens: Count | None = Field(
        None, description="Prompt tokens that the account may have enqueued, in batches of all jobs; null: unknown."
    )
    poll_s: Annotated[float, Field(gt=0)] = Field(60.0, description="Seconds between two looks at the batches.")


class TransformersConfig(Section):
    """A chat model in the job itself."""

    model: str = Field("Qwen/Qwen2.5-7B-Instruct", description="Chat model: a folder, or an id of the hub.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        0.0, description="0 and null take the likeliest token; above, a request's own seed draws."
    )
    max_tokens: Count = Field(500, description="Tokens of an answer at most.")
    batch_size: Count = Field(32, description="Requests at once; changes speed only.")


class MergeConfig(Section):
    """The built-in merger's limits."""

    max_phrases: Count = Field(4, description="Captions whose text goes into the sentence.")
    max_objects: Count = Field(6, description="Things named in the sentence.")
    max_selected: Count = Field(10, description="Captions selected of a group.")


class QualityConfig(Section):
    """What of a summary is counted, and which summaries are dropped for it."""

    image_model: str | None = Field(
        None, description="The image model whose tokenizer counts a summary's tokens; null: they are not counted."
    )
    must_fit: bool = Field(False, description="Drop a summary of more tokens than the image model reads.")
    max_unsupported_share: Share = Field(
        0.5, description="Drop a summary of whose content words a larger share stands in no selected caption."
    )
    min_covered: Annotated[int, Field(ge=0)] = Field(
        0, description="Drop a summary that has all content words of fewer selected captions."
    )

    @model_validator(mode="after")
    def _tokens_are_counted(self) -> "QualityConfig":
        if self.must_fit and self.image_model is None:
            raise ValueError("must_fit=true needs image_model, which is null")
        return self


# What changes speed, access and cost, never an answer: of the providers' sections, and of summaries.
_PROVIDER_RUNTIME = {
    "merge": set[str](),
    "openai": {
        "base_url", "api_key_env", "timeout_s", "retries", "concurrency", "structured_output",
        "prompt_usd_per_million", "completion_usd_per_million",
    },
    "transformers": {"batch_size"},
}  # fmt: skip
_RUNTIME = {"store", "budget_usd", "max_drop_share", "batch"}
_OWN_WAY = {"prompt", "prompts", "openai", "transformers", "merge"}  # to the rule: as input files, or one of them alone


class SummariesConfig(Section):
    """From a group of captions to one sentence of many contexts."""

    provider: Literal["merge", "openai", "openai-batch", "transformers"] = Field(
        "merge",
        description="merge needs no model; openai asks an endpoint; openai-batch does so through its Batch API; "
        "transformers runs a chat model in the job.",
    )
    prompt: PromptName = Field("paper", description="config/prompts/<name>.txt and .yaml; editing reruns summaries.")
    prompts: list[PromptName] = Field([], description="Prompts that `snakemake compare_prompts` sets side by side.")
    max_drop_share: Share = Field(0.5, description="A larger share of dropped groups fails the shard.")
    repair: bool = Field(True, description="Ask once more, naming what was wrong, where an answer cannot be used.")
    store: str = Field("results/replies", description="Folder of all replies, shared by runs; deleting it costs money.")
    budget_usd: Price | None = Field(None, description="What a run may spend on replies at most; null for no ceiling.")
    quality: QualityConfig = QualityConfig()
    openai: OpenAIConfig = OpenAIConfig()
    batch: BatchConfig = BatchConfig()
    transformers: TransformersConfig = TransformersConfig()
    merge: MergeConfig = MergeConfig()

    @property
    def llm_requests(self) -> int:
        """How many requests to a server a job has under way at most."""
        return {"openai": self.openai.concurrency, "openai-batch": 1}.get(self.provider, 0)

    @property
    def minutes(self) -> int:
        """How long a job may take: a batch is answered within a day."""
        return 26 * 60 if self.provider == "openai-batch" else 240

    @property
    def section(self) -> str:
        """The name of the provider's section."""
        return "openai" if self.provider == "openai-batch" else self.provider

    def deciding(self) -> dict[str, Any]:
        """What decides the answers, for a rule's params: nothing of the provider that is not asked."""
        settings = self.model_dump(mode="json", exclude=_OWN_WAY | _RUNTIME)
        asked = getattr(self, self.section)
        return settings | {self.section: asked.model_dump(mode="json", exclude=_PROVIDER_RUNTIME[self.section])}

    def runtime(self, **changes: float) -> str:
        """The rest, with `changes`, as JSON for a rule's resource: changing it reruns nothing."""
        settings = self.model_dump(mode="json", include=_RUNTIME) | changes
        if self.provider == "merge":
            return json.dumps({"max_drop_share": settings["max_drop_share"]})
        asked = getattr(self, self.section)
        runtime = asked.model_dump(mode="json", include=_PROVIDER_RUNTIME[self.section])
        return json.dumps(settings | {self.section: runtime})

    @classmethod
    def joined(cls, deciding: Mapping[str, Any], runtime: str) -> "SummariesConfig":
        """The section back from `deciding()` and `runtime()`."""
        rest = json.loads(runtime)
        [section] = deciding.keys() & _PROVIDER_RUNTIME.keys()
        return cls(**{**deciding, **rest, section: deciding[section] | rest.get(section, {})})


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


class CaptionerDecoder(Section):
    """The BERT decoder."""

    layers: Count = Field(12, description="Layers.")
    hidden: Count = Field(768, description="Width.")
    heads: Count = Field(12, description="Attention heads; must divide the width.")
    dropout: Share = Field(0.1, description="Dropout of states and attention.")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "CaptionerDecoder":
        if self.hidden % self.heads:
            raise ValueError(f"heads={self.heads} must divide hidden={self.hidden}")
        return self


class Captioner(Section):
    """The captioner's training."""

    vision_model: str = Field(description="CLIPVisionModel with its image processor: a folder, or an id of the hub.")
    tokenizer: str = Field(description="BertTokenizer: a folder, or an id of the hub.")
    decoder: CaptionerDecoder = CaptionerDecoder()
    prefix: str = Field("a picture of", description="What every caption begins with, given and not asked for.")
    max_words: Count = Field(30, description="Words of a training caption; the rest is cut.")
    steps: Count = Field(description="Training steps, the same for every arm.")
    batch_size: Count = Field(64, description="Pairs a step; changes the result.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-5, description="AdamW's highest rate.")
    vision_learning_rate_scale: Annotated[float, Field(ge=0)] = Field(
        1.0, description="The vision encoder's rate as a share of that."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.05, description="AdamW's weight decay.")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(100, description="Steps in which the rate rises.")
    label_smoothing: Share = Field(0.1, description="Label smoothing of the loss.")
    clip_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="Longest gradient.")
    flip: bool = Field(False, description="Turn half of the pictures left to right; wrong where captions name sides.")
    crop: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Smallest share of the area that a random crop keeps; null for no cropping."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto is bfloat16 where the processor or GPU has it."
    )
    validate_every: Count = Field(500, description="Steps between two validations.")
    validation_pictures: Count = Field(500, description="Pictures of val that a validation reads at most.")
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field([0], description="One training an arm for each.")
    checkpoint_every: Count = Field(200, description="Steps between two saved states; changes nothing else.")

    @model_validator(mode="after")
    def _seeds_differ(self) -> "Captioner":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={self.seeds} must differ from one another")
        return self


class EvaluationConfig(Section):
    """Scores on the test pictures."""

    beams: Count = Field(3, description="Width of the beam search.")
    min_tokens: Annotated[int, Field(ge=0)] = Field(5, description="Shortest caption in tokens, prefix included.")
    max_tokens: Count = Field(30, description="Longest caption in tokens, prefix included.")
    metrics: Annotated[list[Literal["BLEU", "METEOR", "ROUGE_L", "CIDEr"]], Field(min_length=1)] = Field(
        ["BLEU", "METEOR", "ROUGE_L", "CIDEr"], description="Metrics of coco-caption."
    )
    bootstrap_samples: Count = Field(1000, description="Resamples of the pictures for the 95% intervals.")
    batch_size: Count = Field(64, description="Pictures at once; changes speed only.")


class EstimateConfig(Section):
    """What `snakemake estimate` reckons with; it changes no result. Rates are of models of full size on one GPU."""

    captions: Count = Field(566_435, description="Captions of the corpus, as long as its file is not there.")
    caption_characters: Rate = Field(
        52.4, description="Mean length of those captions: that of COCO's, over the 202,654 of val2014."
    )
    tokens_per_character: Rate = Field(
        0.21,
        description="Tokens a character of a prompt: the 312 M that are known of COCO's 566,435 groups, by prompts of "
        "2,615 characters (30 captions of val2014 in the text of paper.txt).",
    )
    answer_tokens: Rate = Field(
        80.0, description="Tokens of an answer: the 45 M that are known of COCO's 566,435 groups."
    )
    repair_share: Share = Field(
        0.05, description="Share of answers that are asked for again, since they cannot be used; a guess."
    )
    unusable_share: Share = Field(0.05, description="Share of groups that end without a usable summary; a guess.")
    captions_per_summary: Rate = Field(
        7.0, description="Captions a summary is of, each of which single_matched draws; paper.txt asks for 5 to 10."
    )
    requests_at_once: Count = Field(
        64, description="Requests under way at once in all jobs: llm_requests of profiles/default."
    )
    seconds_per_request: Rate = Field(2.0, description="Seconds from a request to its answer; a guess for an endpoint.")
    batch_hours: Rate = Field(24.0, description="Hours in which the Batch API answers a batch: what OpenAI promises.")
    local_requests_per_second: Rate = Field(
        5.0, description="Answers a second of a chat model of 7 B parameters on one GPU, in batches; a guess."
    )
    embeddings_per_second: Rate = Field(2_000.0, description="Captions a second through CLIP ViT-B/32; a guess.")
    images_per_second: Rate = Field(
        1.0, description="Pictures a second of Stable Diffusion 1.4, 512 by 512 pixels, in 20 steps; a guess."
    )
    checks_per_second: Rate = Field(100.0, description="Pictures a second through its safety checker; a guess.")
    training_steps_per_second: Rate = Field(
        3.0, description="Steps of 64 pairs a second, CLIP ViT-B/32 and BERT base, validations included; a guess."
    )
    bytes_per_caption: Rate = Field(
        5_000.0, description="On disk: its text and 512 float32, both twice, and the ids of 30 neighbours twice."
    )
    bytes_per_summary: Rate = Field(
        1_000.0, description="On disk: about 700 for the reply, the rest for the table's row; a guess."
    )
    bytes_per_image: Rate = Field(
        900_000.0, description="On disk: a PNG file of 512 by 512 pixels, about 450 KB, twice: kept and in the table."
    )
    bytes_per_training: Rate = Field(1.0e9, description="On disk: a checkpoint of 230 M float32 weights.")


class Config(Section):
    """The whole config."""

    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="Name of the run; its tables go to results/<run>/."
    )
    shards: Annotated[int, Field(ge=1, le=9999)] = Field(description="Parts of every table, one job each.")
    arms: Annotated[list[Arm], Field(min_length=1)] = Field(description="What is trained and compared.")
    captions: CaptionsConfig
    pictures: PicturesConfig
    embeddings: EmbeddingsConfig
    groups: GroupsConfig = GroupsConfig()
    summaries: SummariesConfig = SummariesConfig()
    images: ImagesConfig
    safety: SafetyConfig = SafetyConfig()
    dataset: DatasetConfig = DatasetConfig()
    captioner: Captioner
    evaluation: EvaluationConfig = EvaluationConfig()
    estimate: EstimateConfig = EstimateConfig()

    @property
    def shard_names(self) -> list[str]:
        """The names of all shards, in order."""
        return shard_names(self.shards)

    @model_validator(mode="after")
    def _arms_can_be_made(self) -> "Config":
        if len(set(self.arms)) < len(self.arms):
            raise ValueError(f"arms={self.arms} must differ from one another")
        if "real" in self.arms and self.pictures.real is None:
            raise ValueError("the arm real needs pictures.real, which is null")
        return self


def load_config(values: Mapping[str, Any]) -> Config:
    """The checked config; ConfigError names every key that is unknown, missing or out of its limits."""
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        faults = "; ".join(_fault(detail, values) for detail in error.errors())
        raise ConfigError(f"{faults}, in {SOURCE}") from None


def _fault(detail: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, list(known_keys(Config)), n=1)
        return f"{key} is no key" + (f" (did you mean {near[0]}?)" if near else "")
    if detail["type"] == "missing":
        return f"{key} is missing"
    if detail["type"] == "model_type":
        return f"{key}={detail['input']!r}: give the section's keys below it, or leave it out"
    problem = detail["msg"].removeprefix("Value error, ")
    shown = repr(detail["input"])
    if not key or len(shown) > SHOWN_CHARACTERS:
        return f"{key}: {problem}" if key else problem
    if detail["type"] == "float_type" and _is_number(detail["input"]):
        problem += " (YAML reads 1e-3 as text: write 1.0e-3, without quotes)"
    return f"{key}={shown}: {problem[0].lower()}{problem[1:]}"


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def known_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key, dotted: sections and their keys."""
    for name, field in section.model_fields.items():
        yield prefix + name
        for kind in _sections(field.annotation):
            yield from known_keys(kind, f"{prefix}{name}.")


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The sections in a type: itself, or those of a union such as `PicturesSplit | None`."""
    parts = getattr(annotation, "__args__", (annotation,))
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
