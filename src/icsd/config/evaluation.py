"""How the trained captioners are scored."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from icsd.config.section import Count, Section


class SpiceConfig(Section):
    """What the metric SPICE needs that no package brings."""

    corenlp: str = Field(
        "resources/models/corenlp",
        description="Folder with the two jars of CoreNLP 3.6.0; they are looked for in pycocoevalcap's spice/lib too.",
    )
    java: str = Field("java", description="Java program, of versions 8 to 14, that runs SPICE; needs 8 GB of memory.")


class EvaluationConfig(Section):
    """Scores on the test pictures."""

    beams: Count = Field(3, description="Width of the beam search.")
    min_tokens: Annotated[int, Field(ge=0)] = Field(5, description="Shortest caption in tokens, prefix included.")
    max_tokens: Count = Field(30, description="Longest caption in tokens, prefix included.")
    metrics: Annotated[list[Literal["BLEU", "METEOR", "ROUGE_L", "CIDEr", "SPICE"]], Field(min_length=1)] = Field(
        ["BLEU", "METEOR", "ROUGE_L", "CIDEr"], description="Metrics of coco-caption."
    )
    spice: SpiceConfig = SpiceConfig()
    clip_model: str | None = Field(
        None,
        description="open_clip model of CLIPScore and RefCLIPScore: a folder, or architecture/pretrained; null: "
        "they are not computed.",
    )
    bootstrap_samples: Count = Field(1000, description="Resamples of the pictures for the 95% intervals.")
    batch_size: Count = Field(64, description="Pictures at once; changes speed only.")

    @model_validator(mode="after")
    def _metrics_differ(self) -> "EvaluationConfig":
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics={self.metrics} must differ from one another")
        return self
