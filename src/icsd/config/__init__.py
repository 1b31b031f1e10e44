"""The config: every key with its type, limits and one sentence. config/config.yaml holds the default run's values."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, model_validator

from icsd.config.arms import ARMS, METHOD, Arm, ArmName, arms_with_pictures_of, drawing_names, drawn_arms
from icsd.config.captioner import CaptionerConfig, CaptionerDecoderConfig
from icsd.config.corpus import CaptionsConfig, Columns, GuardConfig, PicturesConfig, PicturesSplit
from icsd.config.downloads import DownloadsConfig
from icsd.config.embeddings import EmbeddingsConfig, GroupsConfig
from icsd.config.estimate import EstimateConfig
from icsd.config.evaluation import ENGLISH_METRICS, EvaluationConfig, SpiceConfig
from icsd.config.export import ExportConfig, provenance
from icsd.config.images import AlignmentConfig, DatasetConfig, GalleryConfig, ImagesConfig, SafetyConfig
from icsd.config.section import RUN_NAME, Section, known_keys, mistake, tracked
from icsd.config.shipped import shipped_path, with_defaults
from icsd.config.summaries import AnswersConfig, BatchConfig, OpenAIConfig, QualityConfig, SummariesConfig
from icsd.core.errors import ConfigError
from icsd.core.ids import shard_names
from icsd.core.languages import ENGLISH

__all__ = [
    "ARMS", "METHOD", "AlignmentConfig", "AnswersConfig", "Arm", "BatchConfig", "CaptionerConfig",
    "CaptionerDecoderConfig", "CaptionsConfig", "Columns",
    "Config", "DatasetConfig", "DownloadsConfig", "EmbeddingsConfig", "EstimateConfig", "EvaluationConfig",
    "ExportConfig", "GalleryConfig", "GroupsConfig", "GuardConfig", "ImagesConfig", "OpenAIConfig", "PicturesConfig",
    "PicturesSplit", "QualityConfig", "SafetyConfig", "SpiceConfig", "SummariesConfig", "arms_with_pictures_of",
    "drawn_arms", "job_config", "known_keys", "load_config", "shipped_path",
]  # fmt: skip

SOURCE = "config/config.yaml, or in the file given with --configfile"

# keys that accept the hub id of a model in `downloads`. Not summaries.openai.model: an endpoint's models are its own
MODEL_KEYS = (
    "embeddings.model", "images.model", "images.lora.model", "alignment.model", "safety.model", "captioner.model",
    "captioner.vision_model", "captioner.tokenizer", "captioner.decoder_weights", "summaries.transformers.model",
    "summaries.quality.image_model", "evaluation.clip_model",
)  # fmt: skip


class Config(Section):
    """The whole config."""

    run: Annotated[str, Field(pattern=RUN_NAME)] = tracked(..., "Name of the run; its tables go to results/<run>/.")
    shards: Annotated[int, Field(ge=1, le=9999)] = tracked(..., "Parts of every table, one job each.")
    arms: Annotated[list[ArmName], Field(min_length=1)] = tracked(..., "Arms to train and compare.")
    captions: CaptionsConfig
    pictures: PicturesConfig
    embeddings: EmbeddingsConfig
    guard: GuardConfig = GuardConfig()
    groups: GroupsConfig = GroupsConfig()
    summaries: SummariesConfig = SummariesConfig()
    images: ImagesConfig
    alignment: AlignmentConfig = AlignmentConfig()
    safety: SafetyConfig = SafetyConfig()
    dataset: DatasetConfig = DatasetConfig()
    captioner: CaptionerConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    gallery: GalleryConfig = GalleryConfig()
    downloads: DownloadsConfig = DownloadsConfig()
    export: ExportConfig = ExportConfig()
    estimate: EstimateConfig = EstimateConfig()

    @property
    def results(self) -> str:
        """The run's folder."""
        return f"results/{self.run}"

    @property
    def shard_names(self) -> list[str]:
        """The names of all shards, in order."""
        return shard_names(self.shards)

    @property
    def search_parts(self) -> list[str]:
        """The names of the parts in which neighbours are searched: the shards, or fewer parts of several shards."""
        return shard_names(min(self.shards, self.groups.jobs))

    @property
    def exported_arms(self) -> list[str]:
        """The arms whose datasets and captioners `snakemake export` writes."""
        return [arm for arm in self.arms if not ARMS[arm].photographs] if self.export.arms is None else self.export.arms

    @property
    def provenance(self) -> dict[str, Any]:
        """The sources of an arm's pictures and captions."""
        return provenance(self)

    @property
    def drawn_arms(self) -> list[str]:
        """The arms that pictures are drawn for."""
        return drawn_arms(self.arms)

    @property
    def summarizing_arms(self) -> list[str]:
        """Those of the drawn arms whose pictures depend on summaries."""
        return [arm for arm in self.drawn_arms if ARMS[arm].uses_summaries]

    def drawings(self, arm: str) -> list[str]:
        """The folders of an arm's drawn pictures, below images/: the first candidates' and those of further ones."""
        return drawing_names(arm, self.images.candidates)

    @property
    def left_small_models(self) -> dict[str, str]:
        """Rule -> keys that name a model of the picture book, where the text encoder is another."""
        if _of_picturebook(self.embeddings.model):
            return {}
        quality, images, captioner = self.summaries.quality, self.images, self.captioner
        values = {
            ("summarize_groups", "summaries.quality.image_model"): quality.image_model,
            ("generate_images", "images.model"): None if "model" in images.unused else images.model,
            ("train_captioner", "captioner.vision_model"): None if captioner.model else captioner.vision_model,
        }
        return {rule: key for (rule, key), model in values.items() if _of_picturebook(model)}

    @property
    def scores_decide(self) -> bool:
        """True if the scores of pairs decide what a dataset has; else they are there to look at."""
        return self.alignment.selects or self.images.candidates > 1

    @property
    def has_photographs(self) -> bool:
        """True if an arm consists of the corpus's photographs."""
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

    @model_validator(mode="after")
    def _language_is_supported(self) -> "Config":
        language, metrics = self.captions.language, self.evaluation.metrics
        if language == ENGLISH:
            return self
        merges = self.summaries.provider == "merge" and any(ARMS[arm].uses_summaries for arm in self.arms)
        english = [name for name in metrics if name in ENGLISH_METRICS]
        problems = {
            "summaries.provider=merge writes English alone: set it to openai, openai-batch or transformers": merges,
            f"evaluation.metrics={metrics} has {' and '.join(english)}, for English alone: "
            "set it to [BLEU, ROUGE_L, CIDEr, chrF]": english,
        }
        if found := [problem for problem, there in problems.items() if there]:
            raise ValueError(f"with captions.language={language}, {'; and '.join(found)}")
        return self

    @model_validator(mode="after")
    def _alignment_has_scores(self) -> "Config":
        drawn_again = self.images.candidates > 1
        if not self.alignment.scores and self.scores_decide:
            selection = [f"alignment.{name}={value}" for name, value in self.alignment.selection.items()]
            key = f"images.candidates={self.images.candidates}" if drawn_again else selection[0]
            raise ValueError(f"{key} needs scores: set alignment.model to a model of open_clip; it is null")
        own = _of_picturebook(self.alignment.model) and self.alignment.score == "cosine"
        if own and not _of_picturebook(self.images.model):
            problem = f"alignment.model={self.alignment.model} knows the picture book's images alone"
            way_out = "name a CLIP that knows them, or set alignment.model to null and alignment.drop_share to 0"
            raise ValueError(f"{problem}, and images.model={self.images.model} draws others: {way_out}")
        for key in ("redraw_below", "max_images"):
            value = getattr(self.images, key)
            if value is not None and not drawn_again:
                raise ValueError(f"images.{key}={value} needs images.candidates of 2 or more, and it is 1")
        if self.alignment.rematch and self.alignment.score != "cosine":
            problem = "alignment.rematch needs alignment.score=cosine"
            raise ValueError(f"{problem}: only vectors of a model have nearest ones")
        return self


def _of_picturebook(model: str | None) -> bool:
    return model is not None and "resources/picturebook" in model


def load_config(values: Mapping[str, Any], home: Path | None = None) -> Config:
    """Check the config; ConfigError names every key that is unknown, missing or out of its limits.

    With `home`, the Snakefile's folder, config/config.yaml there has the defaults of keys that `values` leave out. The
    hub id of a model in `downloads` becomes the folder to which the model is downloaded.
    """
    whole = with_defaults(values, home) if home else dict(values)
    try:
        config = Config.model_validate(whole)
    except ValidationError as error:
        mistakes = "; ".join(mistake(detail, whole, Config) for detail in error.errors())
        raise ConfigError(f"{mistakes}, in {SOURCE}") from None

    def folder_of(model: str) -> str:
        return shipped_path(config.downloads.folder(model), home or Path())

    for key in MODEL_KEYS:
        config = _with_folder(config, key.split("."), folder_of)
    return config


def job_config(snakemake: Any) -> Config:
    """The config in a rule's script: where a job gets all that it needs and must not be rerun for.

    Such are batch sizes, devices, stores, endpoints, prices and the run's folder: the keys that are marked `untracked`.
    What changes results comes by a rule's params, so that Snakemake sees a change. `snakemake.config` is that of the
    Snakefile, or of the module where another workflow takes this one.
    """
    return load_config(snakemake.config, Path(snakemake.scriptdir).parent)


S = TypeVar("S", bound=Section)


def _with_folder(section: S, key: Sequence[str], folder_of: Callable[[str], str]) -> S:
    name, *below = key
    value = getattr(section, name)
    if isinstance(value, list):
        value = [_with_folder(each, below, folder_of) for each in value]
    elif value is not None:
        value = _with_folder(value, below, folder_of) if below else folder_of(value)
    return section.model_copy(update={name: value})
