"""Real pictures: their ids in the IMAGES tables, their domains and reference captions."""

from collections import defaultdict
from pathlib import Path

from icsd.core import tables
from icsd.core.errors import InputError


def real_image_id(image_id: int) -> str:
    """The id that a photograph of the corpus has in the IMAGES tables."""
    return f"real-{image_id}"


def corpus_image_id(image_id: str) -> int:
    """The id that the corpus gave to the photograph with this id in the IMAGES tables."""
    return int(image_id.removeprefix("real-"))


def read_domains(domains: Path | str) -> dict[str, str]:
    """The domain of each picture that has one, by its id in the IMAGES tables."""
    return {real_image_id(row["image_id"]): row["domain"] for row in tables.read(domains, tables.DOMAINS).to_pylist()}


def read_references(captions: Path | str) -> dict[str, list[str]]:
    """The captions of each picture by its id in the IMAGES tables, in the order of their ids."""
    rows = tables.read(captions, tables.CAPTIONS).to_pylist()
    if not rows:
        hint = "point pictures in config/config.yaml at annotations that hold captions"
        raise InputError(captions, "", "holds no caption", hint)
    references: dict[str, list[str]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["image_id"], row["caption_id"])):
        references[real_image_id(row["image_id"])].append(row["caption"])
    return dict(references)
