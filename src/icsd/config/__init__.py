"""The config: every key with its type, limits and one sentence. config/config.yaml holds the default run's values."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, model_validator

from icsd.config.arms import ARMS, METHOD, Arm, ArmName, arms_with_pictures_of, drawn_arms
from icsd.config.captioner import Captioner, CaptionerDecoder
from icsd.config.corpus import CaptionsConfig, Columns, PicturesConfig, PicturesSplit
from icsd.config.downloads import DownloadsConfig
from icsd.config.embeddings import EmbeddingsConfig, GroupsConfig
from icsd.config.estimate import EstimateConfig
from icsd.config.evaluation import EvaluationConfig, SpiceConfig
from icsd.config.export import ExportConfig, provenance
from icsd.config.images import DatasetConfig, GalleryConfig, ImagesConfig, SafetyConfig
from icsd.config.section import Section, fault, known_keys
from icsd.config.shipped import completed, located
from icsd.config.summaries import BatchConfig, QualityConfig, SummariesConfig
from icsd.core.errors import ConfigError
from icsd.core.ids import shard_names

__all__ = [
    "ARMS", "METHOD", "Arm", "BatchConfig", "Captioner", "CaptionerDecoder", "CaptionsConfig", "Columns", "Config",
    "DatasetConfig", "DownloadsConfig", "EmbeddingsConfig", "EstimateConfig", "EvaluationConfig", "ExportConfig",
    "GalleryConfig", "GroupsConfig", "ImagesConfig", "PicturesConfig", "PicturesSplit", "QualityConfig", "SafetyConfig",
    "SpiceConfig", "SummariesConfig", "arms_with_pictures_of", "drawn_arms", "known_keys", "load_config", "located",
]  # fmt: skip

SOURCE = "config/config.yaml, or in the file given with --configfile"

# what may be the id of a model that `downloads` fetches. Not summaries.openai.model: an endpoint's models are its own
MODEL_KEYS = (
    "embeddings.model", "images.model", "safety.model", "captioner.vision_model", "captioner.tokenizer",
    "captioner.decoder_weights", "summaries.transformers.model", "summaries.quality.image_model",
    "evaluation.clip_model",
)  # fmt: skip


class Config(Section):
    """The whole config."""

    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="Name of the run; its tables go to results/<run>/."
    )
    shards: Annotated[int, Field(ge=1, le=9999)] = Field(description="Parts of every table, one job each.")
    arms: Annotated[list[ArmName], Field(min_length=1)] = Field(description="What is trained and compared.")
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
    gallery: GalleryConfig = GalleryConfig()
    downloads: DownloadsConfig = DownloadsConfig()
    export: ExportConfig = ExportConfig()
    estimate: EstimateConfig = EstimateConfig()

    @property
    def shard_names(self) -> list[str]:
        """The names of all shards, in order."""
        return shard_names(self.shards)

    @property
    def exported_arms(self) -> list[str]:
        """The arms whose datasets and captioners `snakemake export` writes."""
        return [arm for arm in self.arms if not ARMS[arm].photographs] if self.export.arms is None else self.export.arms

    @property
    def provenance(self) -> dict[str, Any]:
        """What decides where an arm's pictures and captions come from."""
        return provenance(self)

    @property
    def drawn_arms(self) -> list[str]:
        """The arms that pictures are drawn for."""
        return drawn_arms(self.arms)

    @property
    def has_photographs(self) -> bool:
        """Whether an arm is made of the corpus's photographs."""
        return any(ARMS[arm].photographs for arm in self.arms)

    @model_validator(mode="after")
    def _arms_can_be_made(self) -> "Config":
        if len(set(self.arms)) < len(self.arms):
            raise ValueError(f"arms={self.arms} must differ from one another")
        if self.has_photographs and self.pictures.real is None:
            raise ValueError("the arm real needs pictures.real, which is null")
        if foreign := set(self.export.arms or ()) - set(self.arms):
            raise ValueError(f"export.arms={self.export.arms}: {min(foreign)} is not among arms={self.arms}")
        return self


def load_config(values: Mapping[str, Any], home: Path | None = None) -> Config:
    """The checked config; ConfigError names every key that is unknown, missing or out of its limits.

    What `values` do not name is that of config/config.yaml in `home`, the Snakefile's folder, if it is given. A hub's
    id of a model that `downloads` fetches has become the folder in which the model will lie.
    """
    whole = completed(values, home) if home else dict(values)
    try:
        config = Config.model_validate(whole)
    except ValidationError as error:
        faults = "; ".join(fault(detail, whole, Config) for detail in error.errors())
        raise ConfigError(f"{faults}, in {SOURCE}") from None

    def place(model: str) -> str:
        return located(config.downloads.folder(model), home or Path())

    placed = config
    for key in MODEL_KEYS:
        placed = _with_model(placed, key.split("."), place)
    return placed


S = TypeVar("S", bound=Section)


def _with_model(section: S, key: Sequence[str], place: Callable[[str], str]) -> S:
    name, *below = key
    value = getattr(section, name)
    if value is not None:
        value = _with_model(value, below, place) if below else place(value)
    return section.model_copy(update={name: value})
