"""Captions of real pictures by a trained captioner."""

from collections.abc import Set

import torch

from icsd import tables
from icsd.captioner.model import Search, captions_of, load_captioner
from icsd.captioner.pictures import read_pictures
from icsd.coco_results import write_results
from icsd.errors import InputError
from icsd.logs import progress
from icsd.references import corpus_image_id, read_references


def predict_captions(
    checkpoint: str,
    images: str,
    captions: str,
    predictions: str,
    results: str,
    prefix: str,
    search: Search,
    threads: int,
) -> None:
    """Write one PREDICTIONS row for each picture of `images`, and the same as COCO results JSON.

    InputError for a picture that `captions` does not describe: its caption could not be scored.
    """
    torch.set_num_threads(threads)
    references = read_references(captions)
    _check_described(images, references.keys(), captions)
    captioner = load_captioner(checkpoint)
    pictures = read_pictures([images], captioner.picture_size, references, captions)
    texts = captions_of(
        captioner, pictures.pixels, prefix, search, lambda starts: progress(starts, len(starts), "batches")
    )
    predicted = dict(zip(pictures.ids, texts, strict=True))
    rows = [{"image_id": each, "caption": text} for each, text in predicted.items()]
    tables.write(predictions, tables.PREDICTIONS, rows)
    write_results(results, {corpus_image_id(each): text for each, text in predicted.items()})


def _check_described(images: str, described: Set[str], captions: str) -> None:
    without = sorted(set(tables.read(images, tables.IMAGES, ["image_id"])["image_id"].to_pylist()) - described)
    if without:
        more = f", nor of {len(without) - 1:,} more" if len(without) > 1 else ""
        problem = f"holds no caption of the picture{more}, so that none can be scored against it"
        raise InputError(captions, without[0], problem, "caption the picture in the annotations or take it out of them")
