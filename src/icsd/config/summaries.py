"""Summaries: the provider, its settings, and the limits of a usable summary."""

import math
from collections.abc import Set
from typing import Annotated, Literal

from pydantic import Field, model_validator

from icsd.config.estimate import EstimateConfig
from icsd.config.section import (
    Address,
    Count,
    Price,
    PromptName,
    Section,
    Share,
    VariableName,
    added,
    tracked,
    untracked,
)


class OpenAIConfig(Section):
    """An OpenAI-compatible endpoint."""

    base_url: Address = untracked("https://api.openai.com/v1", "The endpoint's address.")
    model: str = tracked("gpt-4o-mini", "The model's name there.")
    api_key_env: VariableName | None = untracked(
        "OPENAI_API_KEY", "The environment variable that holds the key; null for a server without keys."
    )
    temperature: Annotated[float, Field(ge=0, le=2)] | None = tracked(0.0, "Null leaves it to the server.")
    max_tokens: Count = tracked(500, "Tokens of an answer at most.")
    max_reasoning_tokens: Annotated[int, Field(ge=0)] = added(
        0, "Tokens that a model may think with before its answer; they are paid, and added to max_tokens."
    )
    reasoning_effort: Annotated[str, Field(pattern=r"^[a-z_]+$")] | None = added(
        None, "How long a model thinks, such as low; null leaves it to the server."
    )
    token_parameter: Literal["auto", "max_tokens", "max_completion_tokens"] = untracked(
        "auto", "The limit's name in a request; auto takes max_tokens until the server refuses it."
    )
    max_hidden_tokens: Annotated[int, Field(ge=0)] = untracked(
        0, "Tokens that a server charges beyond prompt and max_tokens, at most; the budget reserves them."
    )
    timeout_s: Count = untracked(60, "Seconds to wait for an answer.")
    retries: Annotated[int, Field(ge=0)] = untracked(
        5, "Retries of a request after 429, 5xx, lost connections and time-outs."
    )
    concurrency: Count = untracked(16, "Requests under way at once in a job, at most.")
    structured_output: bool = untracked(
        True, "Send the answer's JSON schema; where the server takes none, answers are checked here alone."
    )
    bounded_output: bool = added(
        False,
        "Send the schema with bounds for the group: numbers of its captions, not more than the prompt allows, and a "
        "length. A small model behind llama.cpp or vLLM lists numbers without end otherwise.",
    )
    prompt_usd_per_million: Price = untracked(0.15, "USD for a million prompt tokens.")
    completion_usd_per_million: Price = untracked(0.60, "USD for a million answer tokens.")


class BatchConfig(Section):
    """OpenAI's Batch API: answers within a day, at half the price. All else is as in the section openai."""

    max_requests: Annotated[int, Field(ge=1, le=50_000)] = untracked(50_000, "Requests a batch at most.")
    max_bytes: Annotated[int, Field(ge=1, le=100_000_000)] = untracked(100_000_000, "Bytes of a batch's file at most.")
    enqueued_tokens: Count | None = untracked(
        None, "Prompt tokens that the account may have enqueued, in batches of all jobs; null: unknown."
    )
    poll_s: Annotated[float, Field(gt=0)] = untracked(60.0, "Seconds between two looks at the batches.")


class TransformersConfig(Section):
    """A chat model in the job itself."""

    model: str = tracked("Qwen/Qwen2.5-7B-Instruct", "Chat model: a folder, or an id of the hub.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = tracked(
        0.0, "0 and null take the likeliest token; above, a request's own seed draws."
    )
    max_tokens: Count = tracked(500, "Tokens of an answer at most.")
    batch_size: Count = untracked(32, "Requests at once.")
    constrained: bool = added(False, "Allow only tokens that continue JSON of the prompt's schema.")


class MergeConfig(Section):
    """The built-in merger's limits."""

    max_phrases: Count = tracked(4, "Captions whose text goes into the sentence.")
    max_objects: Count = tracked(6, "Things named in the sentence.")
    max_selected: Count = tracked(10, "Captions selected of a group.")


class AnswersConfig(Section):
    """What is accepted of an answer, besides the rules of the prompt."""

    form: Literal["json", "python"] = added(
        "json", "python also reads a dictionary of Python, {'index': [1], 'summary': 'A dog.'}, which is no JSON."
    )
    limit_words: bool = added(True, "Drop a summary of more words than max_words of the prompt's .yaml.")


class QualityConfig(Section):
    """The measured qualities of a summary, and the limits beyond which it is dropped."""

    image_model: str | None = tracked(
        None, "The image model whose tokenizer counts a summary's tokens; null: they are not counted."
    )
    must_fit: bool = tracked(False, "Drop a summary of more tokens than the image model reads.")
    max_unsupported_share: Share = tracked(
        0.5, "Drop a summary of whose content words a larger share stands in no selected caption; 1 drops none."
    )
    min_covered: Annotated[int, Field(ge=0)] = tracked(
        0, "Drop a summary that has all content words of fewer selected captions."
    )

    @model_validator(mode="after")
    def _tokens_are_counted(self) -> "QualityConfig":
        if self.must_fit and self.image_model is None:
            raise ValueError("must_fit=true needs image_model, which is null")
        return self


class SummariesConfig(Section):
    """Summaries: one sentence of many contexts for each group of captions."""

    provider: Literal["merge", "openai", "openai-batch", "transformers"] = tracked(
        "merge",
        "merge needs no model; openai asks an endpoint; openai-batch does so through its Batch API; "
        "transformers runs a chat model in the job.",
    )
    prompt: PromptName = tracked("paper", "config/prompts/<name>.txt and .yaml; editing reruns summaries.")
    prompts: list[PromptName] = tracked([], "Prompts that `snakemake compare_prompts` sets side by side.")
    max_drop_share: Share = untracked(0.5, "A larger share of dropped groups fails the shard.")
    repair: bool = tracked(True, "Ask once more, naming what was wrong, where an answer cannot be used.")
    store: str = untracked("results/replies", "Folder of all replies, shared by runs; deleting it costs money.")
    budget_usd: Price | None = untracked(None, "Limit in USD of a run's spending on replies; null for no limit.")
    answers: AnswersConfig = AnswersConfig()
    quality: QualityConfig = QualityConfig()
    openai: OpenAIConfig = OpenAIConfig()
    batch: BatchConfig = BatchConfig()
    transformers: TransformersConfig = TransformersConfig()
    merge: MergeConfig = MergeConfig()

    @property
    def llm_requests(self) -> int:
        """The most requests that a job has in flight."""
        return {"openai": self.openai.concurrency, "openai-batch": 1}.get(self.provider, 0)

    @property
    def gpus(self) -> int:
        """The GPUs that a job requests: a job that waits for an endpoint holds none."""
        return int(self.provider == "transformers")

    @property
    def memory_mb(self) -> int:
        """The memory of a job in MB: a chat model of 7 B parameters passes through it on its way to the GPU."""
        return 20_000 if self.provider == "transformers" else 2000

    @property
    def minutes(self) -> int:
        """The minutes that a job of any size waits: a batch is answered within a day."""
        return 26 * 60 if self.provider == "openai-batch" else 20

    def rate(self, rates: EstimateConfig) -> float:
        """The groups a second that a job condenses, with its concurrent requests."""
        return {
            "merge": rates.merges_per_second,
            "openai": self.openai.concurrency / rates.seconds_per_request,
            "openai-batch": math.inf,
            "transformers": rates.local_requests_per_second,
        }[self.provider]

    @property
    def bounded(self) -> bool:
        """True if each request has a schema with bounds for its group."""
        return self.transformers.constrained if self.provider == "transformers" else self.openai.bounded_output

    @property
    def section(self) -> str:
        """The name of the provider's section."""
        return "openai" if self.provider == "openai-batch" else self.provider

    @property
    def models(self) -> tuple[str | None, ...]:
        """The models that a job loads: the one whose tokenizer counts tokens, and the chat model if the job runs it."""
        return self.quality.image_model, self.transformers.model if self.provider == "transformers" else None

    @property
    def unused(self) -> Set[str]:
        """The keys that other values of the section turn off: the sections of the other providers.

        The merger gives no answer that is read.
        """
        of_models = {"answers"} if self.provider == "merge" else set()
        return {"openai", "transformers", "merge"} - {self.section} | of_models
