"""From a group to a sentence: who is asked, in which way, and what may be used."""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from icsd.config.estimate import EstimateConfig
from icsd.config.section import Count, Price, PromptName, Section, Share


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
    def gpus(self) -> int:
        """GPUs that a job asks the scheduler for: one that waits for an endpoint holds none."""
        return int(self.provider == "transformers")

    @property
    def memory_mb(self) -> int:
        """What a job takes: a chat model of 7 B parameters passes through memory on its way to the GPU."""
        return 20_000 if self.provider == "transformers" else 2000

    @property
    def minutes(self) -> int:
        """How long a job waits whatever its size: a batch is answered within a day."""
        return 26 * 60 if self.provider == "openai-batch" else 20

    def rate(self, rates: EstimateConfig) -> float:
        """Groups a second that a job condenses: as many at once as are asked at once."""
        return {
            "merge": rates.merges_per_second,
            "openai": self.openai.concurrency / rates.seconds_per_request,
            "openai-batch": math.inf,
            "transformers": rates.local_requests_per_second,
        }[self.provider]

    @property
    def section(self) -> str:
        """The name of the provider's section."""
        return "openai" if self.provider == "openai-batch" else self.provider

    @property
    def models(self) -> tuple[str | None, ...]:
        """What a job loads: whose tokens are counted, and the chat model where it is one of the job."""
        return self.quality.image_model, self.transformers.model if self.provider == "transformers" else None

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
