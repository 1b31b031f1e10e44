"""The captioner's training."""

import math
from collections.abc import Set
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from icsd.config.arms import ARMS
from icsd.config.estimate import EstimateConfig
from icsd.config.section import Count, Section, Seed, Share, added, tracked, untracked

Fit = Literal["crop", "squash", "pad"]
# keys that a vision-language model does without; vision_model and tokenizer have no default
OF_PAPER = frozenset({"decoder", "decoder_weights", "decoder_head", "start_from", "start_token", "prefix"})
SIGNAL_S = 120  # before a Slurm job's time is up; SLURM may be a minute early


class CaptionerDecoderConfig(Section):
    """The BERT decoder."""

    layers: Count = tracked(12, "Layers.")
    hidden: Count = tracked(768, "Width.")
    heads: Count = tracked(12, "Attention heads; must divide the width.")
    dropout: Share = tracked(0.1, "Dropout of states and attention.")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "CaptionerDecoderConfig":
        if self.hidden % self.heads:
            raise ValueError(f"heads={self.heads} must divide hidden={self.hidden}")
        return self


class CaptionerLoraConfig(Section):
    """Low-rank adapters of a vision-language model, trained in place of its weights and merged into them at the end."""

    rank: Count | None = added(None, "Rank of the matrices that are added to a layer's; null: all weights are trained.")
    alpha: Count = added(32, "Their scale, times the rank.")
    dropout: Share = added(0.05, "Dropout of what they read.")
    targets: list[str] | None = added(
        None, "Names of the linear layers that get one, such as q_proj; null: all but the output layer."
    )

    @property
    def unused(self) -> Set[str]:
        """The keys of adapters, where there are none."""
        return frozenset({"alpha", "dropout", "targets"} if self.rank is None else ())


class CaptionerConfig(Section):
    """The captioner's training."""

    model: str | None = added(
        None,
        "Vision-language model of transformers that is trained in place of the paper's captioner: a folder, or an id "
        "of the hub; null: none.",
    )
    prompt: str | None = added(
        None, "What a vision-language model is asked before each caption; null: the prompt of its class."
    )
    lora: CaptionerLoraConfig = CaptionerLoraConfig()
    vision_model: str = tracked(..., "CLIPVisionModel with its image processor: a folder, or an id of the hub.")
    tokenizer: str = tracked(..., "BertTokenizer: a folder, or an id of the hub.")
    image_size: Count | None = tracked(
        None, "Side of a picture in pixels, its position embeddings interpolated; null: the model's own."
    )
    fit: Fit = added(
        "crop",
        "How a picture becomes a square. crop: the shorter side fits, and the ends of the longer one are cut off; "
        "squash: both sides fit, at another aspect ratio; pad: the longer side fits, and the rest is black.",
    )
    decoder: CaptionerDecoderConfig = CaptionerDecoderConfig()
    decoder_weights: str | None = tracked(
        None, "BERT that the decoder begins as: a folder, or an id of the hub; null: weights drawn anew."
    )
    start_from: str | None = added(
        None, "Checkpoint folder of a captioner of the same shape, whose weights training begins with; null: none."
    )
    decoder_head: Literal["loaded", "random"] = added(
        "loaded",
        "The language head's transform and bias: that of decoder_weights, or drawn anew. Its words are those of the "
        "embeddings either way.",
    )
    start_token: str | None = added(
        None, "Token before the prefix, new where the tokenizer lacks it; null: the tokenizer's own first, [CLS]."
    )
    also: list[str] = added(
        [],
        "More pairs that every training reads beside its arm's: arms of this run, or folders of finished ones, such as "
        "results/flickr30k/dataset/multi.",
    )
    prefix: str = tracked(
        "a picture of", "Words with which every caption begins; they are an input, and not in the loss."
    )
    max_words: Count = tracked(30, "Words of a training caption; the rest is cut.")
    max_text_tokens: Annotated[int, Field(ge=4, le=128)] = added(
        128, "Tokens of a training caption with start token, prefix and end; the rest is cut."
    )
    steps: Count | None = tracked(None, "Training steps, the same for every arm, in place of epochs.")
    epochs: Count | None = tracked(None, "Passes over an arm's pairs, in place of steps.")
    batch_size: Count = tracked(64, "Pairs a step in all, over every process, node and part.")
    batch_parts: Count = tracked(
        1,
        "Parts into which a batch is divided among the processes: more parts need less memory. "
        "Dropout is drawn by part.",
    )
    learning_rate: Annotated[float, Field(gt=0)] = tracked(1e-5, "AdamW's highest rate.")
    vision_learning_rate_scale: Annotated[float, Field(ge=0)] = tracked(
        1.0, "The vision encoder's rate as a share of that."
    )
    weight_decay: Annotated[float, Field(ge=0)] = tracked(0.05, "AdamW's weight decay.")
    decay_all: bool = added(False, "Weight decay on biases and norms too.")
    warmup_steps: Annotated[int, Field(ge=0)] = tracked(100, "Steps in which the rate rises.")
    label_smoothing: Share = tracked(0.1, "Label smoothing of the loss.")
    clip_norm: Annotated[float, Field(gt=0)] | None = tracked(1.0, "Longest gradient; null leaves it as long as it is.")
    flip: bool = tracked(False, "Turn half of the pictures left to right; wrong where captions name sides.")
    crop: Annotated[float, Field(gt=0, le=1)] | None = tracked(
        None, "Smallest share of the area that a random crop keeps; null for no cropping."
    )
    crop_from: Literal["square", "picture"] = added(
        "square", "What is cropped: the square of fit, enlarged again; or the picture at its own size, shrunk once."
    )
    precision: Literal["auto", "float32", "bfloat16"] = tracked(
        "auto", "auto is bfloat16 where the processor or GPU has it."
    )
    validate_every: Count = tracked(500, "Steps between two validations.")
    validation_pictures: Count = tracked(500, "Pictures of val that a validation reads at most.")
    seeds: Annotated[list[Seed], Field(min_length=1)] = tracked([0], "One training an arm for each.")
    checkpoint_every: Count = untracked(200, "Steps between two saved states.")
    checkpoint_activations: bool = untracked(
        False, "Work the layers out again on the way back: less memory, but slower."
    )
    device: Literal["auto", "cpu", "cuda"] = untracked(
        "auto",
        "auto is a GPU where there is one; cuda wants one; both ask the scheduler for one a process.",
    )
    processes: Count = untracked(1, "Processes a node, each on a GPU of its own where GPUs are used.")
    nodes: Count = untracked(1, "Nodes of a Slurm job that train together.")
    workers: Annotated[int, Field(ge=0)] = untracked(
        0,
        "Processes that decode pictures, each on a core of its own, for each one that trains; 0: it decodes them.",
    )

    @property
    def models(self) -> tuple[str | None, ...]:
        """The models that a training loads."""
        if self.model is not None:
            return (self.model,)
        return self.vision_model, self.tokenizer, self.decoder_weights

    @property
    def unused(self) -> Set[str]:
        """The keys of the paper's captioner, where a vision-language model is trained."""
        return frozenset() if self.model is None else OF_PAPER

    @property
    def caption_prefix(self) -> str:
        """The words before every caption: none of a vision-language model, which has a prompt."""
        return self.prefix if self.model is None else ""

    @property
    def crops_whole_pictures(self) -> bool:
        """Whether the training needs its pictures at their own size."""
        return self.crop is not None and self.crop_from == "picture"

    @property
    def threads(self) -> int:
        """The cores that a training uses on a node."""
        return self.processes * (1 + self.workers)

    @property
    def gpus(self) -> int:
        """The GPUs that a training requests."""
        return 0 if self.device == "cpu" else self.processes * self.nodes

    @property
    def sbatch(self) -> str:
        """More options for sbatch: SIGTERM in time to save a state, and the GPUs of each of several nodes."""
        spread = f" --gpus-per-node={self.processes}" if self.gpus and self.nodes > 1 else ""
        return f"--signal=TERM@{SIGNAL_S}{spread}"

    @property
    def length(self) -> str:
        """The length of a training, for people."""
        return f"{self.steps:,} steps" if self.steps is not None else f"{self.epochs:,} epochs"

    def steps_of(self, pairs: float) -> int:
        """The steps of a training on so many pairs; the last one may begin another epoch."""
        return self.steps if self.steps is not None else math.ceil((self.epochs or 0) * pairs / self.batch_size)

    def steps_per_second(self, rates: EstimateConfig) -> float:
        """Steps a second, from the rate of one process with steps of 64 pairs."""
        return rates.training_steps_per_second * 64 * self.processes * self.nodes / self.batch_size

    @model_validator(mode="after")
    def _vision_language_keys_fit(self) -> "CaptionerConfig":
        for key, value in (("prompt", self.prompt), ("lora.rank", self.lora.rank)):
            if self.model is None and value is not None:
                raise ValueError(f"{key}={value} is of a vision-language model, and model is null: name one")
        if self.model is not None and self.start_from is not None:
            problem = f"model={self.model} and start_from={self.start_from}: give one of them"
            raise ValueError(f"{problem}; model can name a checkpoint")
        return self

    @model_validator(mode="after")
    def _also_names_datasets(self) -> "CaptionerConfig":
        for name in self.also:
            folder = Path(name)
            if folder.name not in ARMS or (name not in ARMS and folder.parent.name != "dataset"):
                raise ValueError(
                    f"also={name}: give an arm ({', '.join(ARMS)}) or a folder results/<run>/dataset/<arm>"
                )
        runs = {folder.parents[1] for folder in self.folders_also}
        if len({run.name for run in runs}) < len(runs):
            raise ValueError(f"also={self.also}: the runs must have different names")
        return self

    @property
    def folders_also(self) -> list[Path]:
        """Those of `also` that are folders of other runs."""
        return [Path(name) for name in self.also if name not in ARMS]

    @model_validator(mode="after")
    def _length_is_given_once(self) -> "CaptionerConfig":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"steps={self.steps} and epochs={self.epochs}: give one of them, and null for the other")
        return self

    @model_validator(mode="after")
    def _batch_can_be_divided(self) -> "CaptionerConfig":
        if self.batch_size % self.batch_parts:
            raise ValueError(f"batch_parts={self.batch_parts} must divide batch_size={self.batch_size}")
        total = self.processes * self.nodes
        if self.batch_parts % total:
            problem = f"must be a multiple of the {total} processes (processes={self.processes}, nodes={self.nodes})"
            raise ValueError(f"batch_parts={self.batch_parts} {problem}")
        return self

    @model_validator(mode="after")
    def _seeds_differ(self) -> "CaptionerConfig":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={self.seeds} must differ from one another")
        return self
