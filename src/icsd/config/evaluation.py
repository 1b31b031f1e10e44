"""The scores of trained captioners."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from icsd.config.section import Count, Section, tracked, untracked

Metric = Literal["BLEU", "METEOR", "ROUGE_L", "CIDEr", "SPICE", "chrF"]
ENGLISH_METRICS = ("METEOR", "SPICE")  # by stems, synonyms and a parser of English


class SpiceConfig(Section):
    """Programs that the metric SPICE needs and no package includes."""

    corenlp: str = untracked(
        "resources/models/corenlp",
        "Folder with the two jars of CoreNLP 3.6.0; they are looked for in pycocoevalcap's spice/lib too.",
    )
    java: str = untracked("java", "Java program, of versions 8 to 14, that runs SPICE; needs 8 GB of memory.")


class EvaluationConfig(Section):
    """Scores on the test pictures."""

    beams: Count = tracked(
        3, "Width of the beam search. Captions of validation pictures choose the checkpoint: it reruns the training."
    )
    min_tokens: Annotated[int, Field(ge=0)] = tracked(
        5, "Shortest caption in tokens, prefix included; reruns the training too."
    )
    max_tokens: Count = tracked(30, "Longest caption in tokens, prefix included; reruns the training too.")
    metrics: Annotated[list[Metric], Field(min_length=1)] = tracked(
        ["BLEU", "METEOR", "ROUGE_L", "CIDEr"],
        "Metrics of coco-caption, and chrF of sacrebleu; METEOR and SPICE are of English alone.",
    )
    spice: SpiceConfig = SpiceConfig()
    clip_model: str | None = tracked(
        None,
        "open_clip model of CLIPScore and RefCLIPScore: a folder, or architecture/pretrained; null: "
        "they are not computed.",
    )
    bootstrap_samples: Count = tracked(1000, "Resamples of the pictures for the 95% intervals.")
    batch_size: Count = untracked(64, "Pictures at once.")

    @model_validator(mode="after")
    def _metrics_differ(self) -> "EvaluationConfig":
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics={self.metrics} must differ from one another")
        return self
