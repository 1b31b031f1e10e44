"""A world of two kinds of picture, red ones and blue ones with a bright half, and a captioner's training in it."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from icsd.config import CaptionerConfig, CaptionerDecoderConfig
from icsd.core import tables
from icsd.stages.captioner.interface import BeamSearch
from icsd.stages.captioner.job import Files, Resources, TrainingJob

SEARCH = BeamSearch(beams=3, min_tokens=5, max_tokens=12, batch_size=8)
SAID = {"red": "a red ball on the left", "blue": "a blue fish under a boat"}


def png(kind: str, brightness: int) -> bytes:
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[..., 0 if kind == "red" else 2] = brightness
    if kind == "blue":
        pixels[8:] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_images(path: Path, prefix: str, *, swapped: bool = False) -> list[str]:
    """Eight pictures, four of each kind, red ones first if `swapped`; their ids."""
    rows = []
    for number in range(8):
        data = png("red" if number % 2 != swapped else "blue", 150 + 10 * number)
        image = {"bytes": data, "path": None}
        rows.append({"image_id": f"{prefix}-{number}", "image": image, "sentence": "", "seed": 0, "model": "test"})
    tables.write(path, tables.IMAGES, rows)
    return [row["image_id"] for row in rows]


def said_of(number: int) -> str:
    return SAID["red" if number % 2 else "blue"]


def settings_of(captioner_folder: Path) -> CaptionerConfig:
    """Forty steps of eight pairs."""
    return CaptionerConfig(
        vision_model=str(captioner_folder / "vision"),
        tokenizer=str(captioner_folder / "tokenizer"),
        decoder=CaptionerDecoderConfig(layers=1, hidden=32, heads=2),
        steps=40,
        batch_size=8,
        learning_rate=1e-2,
        warmup_steps=4,
        validate_every=20,
        validation_pictures=8,
        precision="float32",
    )


def write_world(tmp_path: Path) -> Files:
    """Eight pairs, eight pictures of val, and where a training writes."""
    ids = write_images(tmp_path / "images.parquet", "multi")
    pairs = [
        {"image_id": each, "caption_id": n, "caption": said_of(n).capitalize() + "."} for n, each in enumerate(ids)
    ]
    tables.write(tmp_path / "pairs.parquet", tables.PAIRS, pairs)
    write_images(tmp_path / "val.parquet", "real")
    captions = [{"caption_id": n, "image_id": n, "caption": said_of(n), "split": "val"} for n in range(8)]
    tables.write(tmp_path / "val_captions.parquet", tables.CAPTIONS, captions)
    return Files(
        pairs=str(tmp_path / "pairs.parquet"),
        images=[str(tmp_path / "images.parquet")],
        val_images=str(tmp_path / "val.parquet"),
        val_captions=str(tmp_path / "val_captions.parquet"),
        checkpoint=str(tmp_path / "out/checkpoint"),
        history=str(tmp_path / "out/history.parquet"),
        log=str(tmp_path / "out.log"),
    )


def elsewhere(paths: Files, folder: Path) -> Files:
    """The same training with outputs of its own."""
    return replace(paths, checkpoint=str(folder / "b/checkpoint"), history=str(folder / "b/history.parquet"))


def job_of(paths: Files, settings: CaptionerConfig, **resources: Any) -> TrainingJob:
    """A training on one thread a process that saves its state every eighth step."""
    return TrainingJob(
        paths, settings, SEARCH, seed=0, resources=Resources(**({"threads": 1, "save_every": 8} | resources))
    )
