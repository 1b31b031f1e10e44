"""The captioner's training."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from icsd.config.section import Count, Section, Seed, Share


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
