"""The tables of a small arm to export: five pictures in three shards, with captions that are not harmless."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from icsd.core import tables
from icsd.views.export.dataset import ExportedArm

SHARDS = {"0000-of-0003": [3, 12, 40], "0001-of-0003": [], "0002-of-0003": [7, 25]}
DROPPED = 12  # unsafe, and so in no pair
NASTY = {
    1: "a <script>alert('x')</script> | dog & `cat`",
    2: "two\nlines, **bold** _words_ # and [a link](http://example.org) www.example.org",
    3: "un perro 🐕 «ñandú» \u202egnidaer\u202c 犬 $x$ ~~old~~ ``` me@example.org",
    4: "--- a dog: {not: yaml}",
    5: "a plain dog",
}
SOURCE = {
    "run": "tiny", "licence": None, "captions": {"data/captions.json": "https://example.org/captions.json"},
    "split": "train", "photographs": {}, "embeddings": "some/encoder", "k": 5, "provider": "merge",
    "prompt": "config/prompts/paper.txt", "summaries": None,
    "images": {"model": "some/drawer", "steps": 2, "seed": 0, "negative_prompt": ""}, "safety": "some/drawer",
}  # fmt: skip


def png(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (6, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pairs_of(number: int) -> list[dict[str, Any]]:
    """A picture has one caption more than the one before; caption 1 is of all of them."""
    count = 1 + [3, 7, 25, 40].index(number)
    return [{"image_id": f"multi-{number}", "caption_id": each, "caption": NASTY[each]} for each in range(1, count + 1)]


def write_arm(folder: Path) -> ExportedArm:
    """The tables, in a run's folder."""
    for shard, numbers in SHARDS.items():
        images = [
            {
                "image_id": f"multi-{number}", "image": {"bytes": png(number), "path": f"multi-{number}.png"},
                "sentence": f"{number}: {NASTY[1]}", "seed": number, "model": "some/drawer",
            }
            for number in numbers
        ]  # fmt: skip
        tables.write(folder / "images/multi" / f"{shard}.parquet", tables.IMAGES, images)
    pairs = [pair for number in sorted((3, 7, 25, 40), key=str) for pair in pairs_of(number)]
    tables.write(folder / "dataset/multi/pairs.parquet", tables.PAIRS, pairs)
    numbers = sorted(number for shard in SHARDS.values() for number in shard)
    ledger = [{"stage": "images", "item_id": f"multi-{number}", "kept": True, "reason": None} for number in numbers]
    reasons = {number: "unsafe|<b>: 0.5" if number == DROPPED else None for number in numbers}
    ledger += [
        {"stage": "safety", "item_id": f"multi-{number}", "kept": reason is None, "reason": reason}
        for number, reason in reasons.items()
    ]
    tables.write(folder / "dataset/multi/ledger.parquet", tables.LEDGER, ledger)
    answer = {
        "summary": NASTY[1], "selected": [1], "status": "ok", "reason": None, "prompt_tokens": 100,
        "completion_tokens": 20, "model": "m", "prompt_hash": "abc", "unsupported": [], "covered": [],
        "image_tokens": None,
    }  # fmt: skip
    rows = [{"group_id": number, **answer} for number in numbers]
    tables.write(folder / "summaries/0000-of-0001.parquet", tables.SUMMARIES, rows)
    return ExportedArm(
        "multi",
        folder / "dataset/multi/pairs.parquet",
        folder / "dataset/multi/ledger.parquet",
        [folder / "images/multi" / f"{shard}.parquet" for shard in SHARDS],
        [folder / "summaries/0000-of-0001.parquet"],
    )
