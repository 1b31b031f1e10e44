"""Captions of a trained captioner: for a test set in the pipeline, and for files by an exported captioner."""

from collections.abc import Iterator, Sequence, Set
from pathlib import Path

import numpy as np
import torch

from icsd.core import tables
from icsd.core.errors import ICSDError, InputError
from icsd.core.ids import corpus_image_id
from icsd.core.logs import progress
from icsd.core.metrics import read_references
from icsd.core.pictures import PictureError, read_picture
from icsd.corpora.coco_results import write_results
from icsd.stages.captioner.folder import read_generation_settings
from icsd.stages.captioner.interface import BeamSearch
from icsd.stages.captioner.model import generate_captions, load_captioner
from icsd.stages.captioner.pictures import Square, find_squares


def predict_captions(
    checkpoint: str,
    images: str,
    captions: str,
    predictions: str,
    results: str,
    prefix: str,
    search: BeamSearch,
    threads: int,
) -> None:
    """Write a row of PREDICTIONS for each picture of `images`, and the same as COCO results JSON.

    InputError for a picture without a reference in `captions`: its caption could not be scored.
    """
    torch.set_num_threads(threads)
    references = read_references(captions)
    _check_described(images, references.keys(), captions)
    captioner = load_captioner(checkpoint)
    squares = find_squares([images], captioner.square, list(references), captions, threads)
    texts = generate_captions(
        captioner, squares, prefix, search, lambda starts: progress(starts, len(starts), "batches")
    )
    predicted = dict(zip(squares.ids, texts, strict=True))
    rows = [{"image_id": each, "caption": text} for each, text in predicted.items()]
    tables.write(predictions, tables.PREDICTIONS, rows)
    write_results(results, {corpus_image_id(each): text for each, text in predicted.items()})


def _check_described(images: str, described: Set[str], captions: str) -> None:
    without = sorted(set(tables.read(images, tables.IMAGES, ["image_id"])["image_id"].to_pylist()) - described)
    if without:
        more = f", nor of {len(without) - 1:,} more" if len(without) > 1 else ""
        problem = f"holds no caption of the picture{more}, so that none can be scored against it"
        raise InputError(captions, without[0], problem, "caption the picture in the annotations or take it out of them")


BATCH = 16  # pictures at once


class UncaptionedPictures(ICSDError):
    """Files that could not be captioned."""

    def __init__(self, errors: Sequence[InputError], files: int) -> None:
        super().__init__(errors, files)
        self.errors, self.files = errors, files

    def __str__(self) -> str:
        lines = [f"{len(self.errors):,} of {self.files:,} files have no caption:", *map(str, self.errors)]
        return "\n  ".join(lines)


def caption_files(folder: Path, paths: Sequence[Path]) -> Iterator[tuple[Path, str | InputError]]:
    """Yield each path with its caption, as the pipeline writes it, or with the error of the file.

    ModelError if `folder` is not an exported captioner.
    """
    settings = read_generation_settings(folder)
    captioner = load_captioner(folder)
    search = BeamSearch(settings.beams, settings.min_tokens, settings.max_tokens, BATCH)
    for start in range(0, len(paths), BATCH):
        batch = [(path, _read(path, captioner.square)) for path in paths[start : start + BATCH]]
        pixels = [read for _, read in batch if not isinstance(read, InputError)]
        captions = iter(generate_captions(captioner, np.stack(pixels), settings.prefix, search) if pixels else [])
        yield from ((path, read if isinstance(read, InputError) else next(captions)) for path, read in batch)


def _read(path: Path, square: Square) -> np.ndarray | InputError:
    try:
        return square.of(read_picture(path))
    except PictureError as error:
        hint = "give a PNG or JPEG file, mend the file or its path, or leave it out"
        return InputError(path, "", f"cannot be read ({error})", hint)
