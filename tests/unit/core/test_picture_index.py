"""The index of an IMAGES file: each picture's bytes lie where it says, and other readers see an ordinary file."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from icsd.core import tables
from icsd.core.picture_index import KEY, NOWHERE


def row(number: int, data: bytes | None) -> dict[str, Any]:
    image = None if data is None else {"bytes": data, "path": f"{number}.png"}
    about = {"sentence": "a dog", "seed": number, "model": "m", "reason": "refused" if data is None else None}
    return {"image_id": f"multi-{number}", "image": image, **about}


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


# equal ones, one that begins another, a refused one, damaged bytes, and one of several pages of Parquet
PICTURES = [png(20, 10), png(20, 10), None, b"no picture", b"no picture at all", b"", png(700, 600), png(3, 4)]
ROWS = [row(number, data) for number, data in enumerate(PICTURES)]


@pytest.mark.parametrize("batches", [[ROWS], [ROWS[:3], [], ROWS[3:]]])
def test_every_picture_lies_where_the_index_says(tmp_path: Path, batches: list[list[dict[str, Any]]]) -> None:
    path = tmp_path / "images.parquet"
    if len(batches) == 1:
        tables.write(path, tables.IMAGES, ROWS)
    else:
        tables.write_batches(path, tables.IMAGES, batches)
    assert tables.read(path, tables.IMAGES).to_pylist() == ROWS
    ids, index = tables.picture_index(path)
    assert ids.to_pylist() == [each["image_id"] for each in ROWS] and index is not None
    whole = path.read_bytes()
    for entry, data in zip(index, PICTURES, strict=True):
        if data is None:
            assert entry["start"] == NOWHERE
            continue
        assert whole[entry["start"] :][: entry["length"]] == data
        assert entry["sha256"].tobytes() == hashlib.sha256(data).digest()
    assert [(each["width"], each["height"]) for each in index[[0, 3, 6, 7]]] == [(20, 10), (0, 0), (700, 600), (3, 4)]


def test_a_table_without_pictures_is_empty(tmp_path: Path) -> None:
    tables.write(tmp_path / "none.parquet", tables.IMAGES, [])
    ids, index = tables.picture_index(tmp_path / "none.parquet")
    assert len(ids) == 0 and index is not None and len(index) == 0


def test_a_file_of_an_earlier_version_has_no_index(tmp_path: Path) -> None:
    path = tmp_path / "images.parquet"
    tables.write(path, tables.IMAGES, ROWS)
    pq.write_table(pq.read_table(path), path, compression="zstd")
    assert KEY not in pq.read_metadata(path).metadata
    assert tables.picture_index(path)[1] is None
