"""The captioner's training."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from icsd.config.estimate import EstimateConfig
from icsd.config.section import Count, Section, Seed, Share

SPEED = ("checkpoint_every", "checkpoint_activations", "device", "processes", "nodes")  # changes no result

SIGNAL_S = 120  # before a Slurm job's time is up; SLURM may be a minute early


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
    image_size: Count | None = Field(
        None, description="Side of a picture in pixels, its position embeddings interpolated; null: the model's own."
    )
    decoder: CaptionerDecoder = CaptionerDecoder()
    decoder_weights: str | None = Field(
        None, description="BERT that the decoder begins as: a folder, or an id of the hub; null: weights drawn anew."
    )
    prefix: str = Field("a picture of", description="What every caption begins with, given and not asked for.")
    max_words: Count = Field(30, description="Words of a training caption; the rest is cut.")
    steps: Count | None = Field(None, description="Training steps, the same for every arm; or epochs.")
    epochs: Count | None = Field(None, description="How often an arm's pairs are gone through; or steps.")
    batch_size: Count = Field(
        64, description="Pairs a step in all, over every process, node and part; changes the result."
    )
    batch_parts: Count = Field(
        1,
        description="Parts that these are worked through in, dealt to the processes: more need less memory. "
        "Dropout is drawn by part.",
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-5, description="AdamW's highest rate.")
    vision_learning_rate_scale: Annotated[float, Field(ge=0)] = Field(
        1.0, description="The vision encoder's rate as a share of that."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.05, description="AdamW's weight decay.")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(100, description="Steps in which the rate rises.")
    label_smoothing: Share = Field(0.1, description="Label smoothing of the loss.")
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(
        1.0, description="Longest gradient; null leaves it as long as it is."
    )
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
    checkpoint_activations: bool = Field(
        False, description="Work the layers out again on the way back: less memory, slower; changes nothing else."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="auto is a GPU where there is one; cuda wants one; both ask the scheduler for one a process.",
    )
    processes: Count = Field(1, description="Processes a node, each on a GPU of its own where GPUs are used.")
    nodes: Count = Field(1, description="Nodes of a Slurm job that train together.")

    @property
    def models(self) -> tuple[str | None, ...]:
        """What a training loads."""
        return self.vision_model, self.tokenizer, self.decoder_weights

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the result of a training."""
        return self.model_dump(mode="json", exclude={"seeds", *SPEED})

    @property
    def gpus(self) -> int:
        """GPUs that a training asks the scheduler for."""
        return 0 if self.device == "cpu" else self.processes * self.nodes

    @property
    def sbatch(self) -> str:
        """What Slurm is told besides: SIGTERM in time to save a state; as many GPUs on each of several nodes."""
        spread = f" --gpus-per-node={self.processes}" if self.gpus and self.nodes > 1 else ""
        return f"--signal=TERM@{SIGNAL_S}{spread}"

    @property
    def length(self) -> str:
        """How long a training is, for people."""
        return f"{self.steps:,} steps" if self.steps is not None else f"{self.epochs:,} epochs"

    def steps_of(self, pairs: float) -> int:
        """The steps of a training with so many pairs; the last one may begin an epoch more."""
        return self.steps if self.steps is not None else math.ceil((self.epochs or 0) * pairs / self.batch_size)

    def steps_per_second(self, rates: EstimateConfig) -> float:
        """Steps a second: those of 64 pairs that a process does, a GPU each."""
        return rates.training_steps_per_second * 64 * self.processes * self.nodes / self.batch_size

    @model_validator(mode="after")
    def _length_is_given_once(self) -> "Captioner":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"steps={self.steps} and epochs={self.epochs}: give one of them, and null for the other")
        return self

    @model_validator(mode="after")
    def _batch_can_be_dealt(self) -> "Captioner":
        if self.batch_size % self.batch_parts:
            raise ValueError(f"batch_parts={self.batch_parts} must divide batch_size={self.batch_size}")
        total = self.processes * self.nodes
        if self.batch_parts % total:
            problem = f"must be a multiple of the {total} processes (processes={self.processes}, nodes={self.nodes})"
            raise ValueError(f"batch_parts={self.batch_parts} {problem}")
        return self

    @model_validator(mode="after")
    def _seeds_differ(self) -> "Captioner":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={self.seeds} must differ from one another")
        return self
