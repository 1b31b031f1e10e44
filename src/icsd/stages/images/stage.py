"""The IMAGES of a shard: those in the store, and the rest drawn by diffusers or a server."""

import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from icsd.config import ImagesConfig
from icsd.config.images import height_and_width
from icsd.config.revisions import REVISIONS
from icsd.core import files, tables
from icsd.core.contact_sheet import contact_sheet
from icsd.core.files import FileDigests
from icsd.core.lock import locked
from icsd.core.logs import Progress
from icsd.core.store import SegmentWriter, Store
from icsd.llm.request import Failure, ImageOutcome

if TYPE_CHECKING:
    from icsd.models.image_lora import Lora

Row = Mapping[str, Any]
Draw = Callable[[Sequence[Row]], Sequence[ImageOutcome]]
Receive = Callable[[int, list[bytes]], None]  # the number of the first of a batch, and the batch's PNG files
UNUSED_PARTS = ("safety_checker", "feature_extractor")  # of a pipeline: no picture depends on them
LATER = ("parameters", "lora", "quantize")  # of a Drawing
PIPELINE_SUFFIXES = (".json", ".txt", ".model", ".safetensors")  # .model: SentencePiece, T5's tokenizer
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawing:
    """The settings that determine a picture, beside its sentence and seed.

    `size` is in pixels: the side, or height and width; None for the model's own. `dtype` may be "auto". `parameters`
    are further arguments of the pipeline's call, `lora` the entries of `images.lora`.
    """

    model: str
    steps: int
    guidance_scale: float | None
    size: int | Sequence[int] | None
    negative_prompt: str
    dtype: str = "float32"
    scheduler: str = "dpmsolver++"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    lora: Sequence[Mapping[str, Any]] = ()
    quantize: str = "none"

    @property
    def height_and_width(self) -> tuple[int, int] | None:
        """The size in pixels; None for the model's own."""
        return height_and_width(self.size)


class Generator(Protocol):
    """A generator of pictures, such as icsd.models.image_generator.ImageGenerator."""

    def draw(
        self,
        sentences: Sequence[str],
        seeds: Sequence[int],
        batch_size: int,
        receive: Receive,
        *,
        steps: int,
        guidance_scale: float | None,
        negative_prompt: str,
    ) -> None:
        """Pass one picture for each sentence to `receive`, in batches; they depend on the batch by rounding alone."""


Load = Callable[[Path, Drawing], Generator]  # from the model's folder


def image_store(folder: Path, run: str) -> Store:
    """The store of drawn PNG files: each job adds a file in its run's subfolder, and reads those of all runs."""
    return Store(folder, ".pictures", run)


def draw_images(
    sentences: Path,
    images: Path,
    contact_sheet_path: Path,
    settings: Mapping[str, Any],
    config: ImagesConfig,
    results: Path,
    shard: str | None = None,
) -> None:
    """Write the IMAGES of a `shard` of SENTENCES, or of all, by `images.provider`, and a contact sheet of the first.

    `settings` are the config's values that determine an image, `results` is the run's folder. Errors as those of
    `generate_images` or `served_images`.
    """
    store = image_store(Path(config.store), results.name)
    if config.provider == "diffusers":
        load = load_generator(compiled=config.compile, offload=config.offload, untried=config.untried)
        drawing = Drawing(**settings)
        generate_images(sentences, images, contact_sheet_path, drawing, config.batch_size, store, load, shard)
        return
    from icsd.stages.images.server import served_images  # late: diffusers' jobs do not pay for the import of openai

    def draw(rows: Sequence[Row]) -> Sequence[ImageOutcome]:
        return served_images(rows, config, store, results)

    _write_shard(sentences, images, contact_sheet_path, draw, config.openai.model, shard)


def generate_images(
    sentences: Path,
    images: Path,
    contact_sheet_path: Path,
    settings: Drawing,
    batch_size: int,
    store: Store,
    load: Load | None = None,
    shard: str | None = None,
) -> None:
    """Write the IMAGES of a `shard` of SENTENCES, in its order, or of all, and a contact sheet of the first.

    Each picture is in `store` from the moment that it exists, so that a killed or changed run draws only what is new.
    `load` returns the generator, by default diffusers'. An empty shard needs no model. ModelError for the model,
    DiskFullError if there is no room. Of two processes that write the same images the second waits for the first, and
    finds its pictures.
    """

    def draw(rows: Sequence[Row]) -> Sequence[bytes]:
        return _pictures(rows, settings, batch_size, store, load or load_generator())

    _write_shard(sentences, images, contact_sheet_path, draw, settings.model, shard)


def _write_shard(
    sentences: Path, images: Path, contact_sheet_path: Path, draw: Draw, model: str, shard: str | None
) -> None:
    columns = ["image_id", "sentence", "seed"]
    rows = tables.read(sentences, tables.SENTENCES, columns, shard=shard).to_pylist()
    with locked(images):
        outcomes = draw(rows) if rows else []
        pictures = [None if isinstance(outcome, Failure) else outcome for outcome in outcomes]
        found = [_row(*each, model) for each in zip(rows, outcomes, strict=True)]
        tables.write(images, tables.IMAGES, found)
        sheet = io.BytesIO()
        contact_sheet(pictures, [row["sentence"] for row in rows]).save(sheet, format="PNG")
        with files.atomic_path(contact_sheet_path) as unfinished:
            unfinished.write_bytes(sheet.getvalue())


def _row(row: Row, outcome: ImageOutcome, model: str) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return {**row, "image": None, "model": model, "reason": f"{outcome.code}: {outcome.detail}"}
    return {**row, "image": {"bytes": outcome, "path": f"{row['image_id']}.png"}, "model": model, "reason": None}


def load_generator(*, compiled: bool = False, offload: str = "none", untried: bool = False) -> Load:
    """Return a loader of a diffusers pipeline; with `compiled` the first batch compiles its denoiser.

    With `untried`, classes that no test draws with are loaded too.
    """

    def load(folder: Path, settings: Drawing) -> Generator:
        from icsd.models.image_generator import load_image_generator  # late: stored pictures need no torch

        return load_image_generator(
            folder,
            settings.height_and_width,
            dtype=settings.dtype,
            scheduler=settings.scheduler,
            compiled=compiled,
            parameters=settings.parameters,
            loras=_loras(settings),
            quantize=settings.quantize,
            offload=offload,
            untried=untried,
        )

    return load


def _pictures(rows: Sequence[Row], settings: Drawing, batch_size: int, store: Store, load: Load) -> Sequence[bytes]:
    """A PNG file for each row: the stored ones, and the rest drawn."""
    from icsd.models.model_folder import PIPELINE_FILES, model_folder

    folder = model_folder("images.model", settings.model, PIPELINE_FILES)
    settings = replace(settings, dtype=_dtype(settings.dtype))
    keys = _keys(rows, settings, folder, FileDigests(store.folder / "digests.json"))
    pictures = store.find(set(keys))
    missing = [number for number, key in enumerate(keys) if key not in pictures]
    if len(missing) < len(rows):
        _log.info("images: %d of %d are drawn already", len(rows) - len(missing), len(rows))
    if missing:
        generator = load(folder, settings)
        with store.writer() as segment:
            new = [(keys[number], rows[number]) for number in missing]
            pictures |= _drawn(new, generator, settings, batch_size, segment)
    return [pictures[key] for key in keys]


def _drawn(
    new: Sequence[tuple[str, Row]], generator: Generator, settings: Drawing, batch_size: int, segment: SegmentWriter
) -> dict[str, bytes]:
    """The PNG files of rows by key, each durable in `segment` before it counts."""
    shown, pictures = Progress(len(new), "images"), dict[str, bytes]()

    def receive(first: int, pngs: list[bytes]) -> None:
        batch = [(key, png) for (key, _), png in zip(new[first : first + len(pngs)], pngs, strict=True)]
        segment.append(batch)
        pictures.update(batch)
        for _ in batch:
            shown.step()

    generator.draw(
        [row["sentence"] for _, row in new],
        [row["seed"] for _, row in new],
        batch_size,
        receive,
        steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        negative_prompt=settings.negative_prompt,
    )
    shown.end()
    return pictures


def _dtype(dtype: str) -> str:
    """Return the dtype that "auto" means here: it determines the pictures, so their keys need it."""
    if dtype != "auto":
        return dtype
    from icsd.models.image_pipeline import usual_dtype  # late: stored pictures need torch for this alone

    return usual_dtype()


def _keys(rows: Sequence[Row], settings: Drawing, folder: Path, digests: FileDigests) -> list[str]:
    """Return a key for each row, a hash of all that determines its picture; weights count by content, not by path."""
    from icsd.models.model_folder import folder_digest

    weights = folder_digest(folder, UNUSED_PARTS, PIPELINE_SUFFIXES, digests.sha256)
    parts = asdict(settings) | {"size": settings.height_and_width, "model": weights, "revision": REVISIONS["images"]}
    parts["lora"] = [[digests.sha256(lora.file), lora.scale] for lora in _loras(settings)]
    # keys that came later: without them, pictures have the keys that they had before
    parts = {name: value for name, value in parts.items() if name not in LATER or value not in ({}, [], "none")}
    return [_hash(parts | {"sentence": row["sentence"], "seed": row["seed"]}) for row in rows]


def _loras(settings: Drawing) -> "list[Lora]":
    from icsd.models.image_lora import find_lora

    return [find_lora(lora["model"], lora.get("file"), lora.get("scale", 1.0)) for lora in settings.lora]


def _hash(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
