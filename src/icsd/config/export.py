"""The datasets and captioners of `snakemake export`, and the sources that their cards name."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from icsd.config.arms import ArmName
from icsd.config.downloads import DownloadsConfig
from icsd.config.images import AlignmentConfig
from icsd.config.section import Section, tracked
from icsd.config.summaries import SummariesConfig

if TYPE_CHECKING:
    from icsd.config import Config

CANDIDATES = ("candidates", "redraw_below", "max_images")  # keys of images
Format = Literal["huggingface", "webdataset", "coco"]
Licence = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


class ExportConfig(Section):
    """Datasets and captioners to pass on."""

    arms: list[ArmName] | None = tracked(
        None, "Arms to export; null for all but real, whose pictures belong to others."
    )
    formats: list[Format] = tracked(
        ["huggingface", "webdataset", "coco"],
        "Forms of the datasets, each with all pictures; coco is a file a picture.",
    )
    licences: dict[str, Licence] = tracked(
        {},
        "Run -> the licence of what it exports, as the hub names it, such as cc-by-4.0; by run, so that no "
        "run takes over another's. The cards of a run that is not named say that it is unknown.",
    )


def provenance(config: "Config") -> dict[str, Any]:
    """Return the sources of an arm's pictures and captions, for a rule's params and the cards."""
    real = config.pictures.real
    return {
        "run": config.run,
        "licence": config.export.licences.get(config.run),
        "captions": {path: _address(config.downloads, path) for path in config.captions.paths},
        "split": config.captions.split,
        "photographs": {path: _address(config.downloads, path) for path in (real.paths if real else [])},
        "embeddings": config.embeddings.model,
        "k": config.groups.k,
        "provider": config.summaries.provider,
        "summaries": _summaries_model(config.summaries),
        "images": config.images.params(without=("max_summaries", "spare", *CANDIDATES)),
        **({"alignment": _alignment(config)} if config.alignment.scores else {}),
        "safety": config.safety.model or config.images.model,
    }


def _alignment(config: "Config") -> dict[str, Any]:
    """The origin of scores, the number of candidates, and the keys of selection that are on."""
    alignment, images, off = config.alignment, config.images, AlignmentConfig().params()
    keys = alignment.params(without=("model", "score")) | images.params("redraw_below", "max_images")
    about = {"model": alignment.model, "score": alignment.score, "candidates": images.candidates}
    return about | {name: value for name, value in keys.items() if value != off.get(name)}


def _summaries_model(summaries: SummariesConfig) -> str | None:
    if summaries.provider == "merge":
        return None
    return summaries.transformers.model if summaries.provider == "transformers" else summaries.openai.model


def _address(downloads: DownloadsConfig, path: str) -> str | None:
    """Return the address of a downloaded file or of its archive; None for other files."""
    archive, _ = downloads.unpacked_files.get(path, (path, ""))
    file = downloads.files.get(archive)
    return file.address if file else None
