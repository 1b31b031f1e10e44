"""Captions of real pictures by a trained captioner."""

import torch

from icsd import tables
from icsd.captioner.model import Search, captions_of, load_captioner
from icsd.captioner.pictures import read_pictures
from icsd.logs import progress
from icsd.references import read_references


def predict_captions(
    checkpoint: str, images: str, captions: str, predictions: str, prefix: str, search: Search, threads: int
) -> None:
    """Write one PREDICTIONS row for each picture that `captions` describes."""
    torch.set_num_threads(threads)
    captioner = load_captioner(checkpoint)
    pictures = read_pictures([images], captioner.picture_size, read_references(captions), captions)
    texts = captions_of(
        captioner, pictures.pixels, prefix, search, lambda starts: progress(starts, len(starts), "batches")
    )
    rows = [{"image_id": each, "caption": text} for each, text in zip(pictures.ids, texts, strict=True)]
    tables.write(predictions, tables.PREDICTIONS, rows)
