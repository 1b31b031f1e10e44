"""Packs: scripts of pure ASCII that each pass one value to the page, since a page from disk can load no JSON."""

import base64
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from icsd.core import tables
from icsd.core.pictures import naming, read_header, read_picture

PACK = 600_000  # characters of a file with many thumbnails: loaded in some milliseconds, and few files in all
FULL_PACK = 4_000_000  # of pictures that are looked at one by one
THUMBNAIL = 224  # pixels; a smaller picture is kept as it is
FULL = 768  # pixels, of a picture that is looked at by itself
Position = tuple[str, int]  # the name of a script, and the index of a value in it
_ESCAPED = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def script_json(value: Any) -> str:
    """JSON in ASCII without <, > and &, so that it is safe inside HTML. ValueError for NaN."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPED)


def write_script(folder: Path, name: str, value: Any) -> None:
    """Write a script that passes `value` to the page under its name."""
    call = f"gallery.receive({script_json(name)},{script_json(value)});\n"
    (folder / f"{name}.js").write_text(call, encoding="ascii")


class Packs:
    """Values in scripts of about `limit` characters, so that a page loads many of them with one file."""

    def __init__(self, folder: Path, name: str, limit: int = PACK) -> None:
        self._folder, self._name, self._limit = folder, name, limit
        self._values: list[Any] = []
        self._size, self._files = 0, 0

    def add(self, value: Any) -> Position:
        """Add a value and return its position."""
        position = f"{self._name}-{self._files:04d}", len(self._values)
        self._values.append(value)
        self._size += len(script_json(value))
        if self._size >= self._limit:
            self.close()
        return position

    def close(self) -> None:
        """Write the values that are in no script yet."""
        if self._values:
            write_script(self._folder, f"{self._name}-{self._files:04d}", self._values)
            self._files += 1
        self._values, self._size = [], 0


def image_files(paths: Iterable[Path], wanted: Mapping[str, Any]) -> Iterable[tuple[str, bytes]]:
    """Yield the wanted pictures of IMAGES tables that were drawn; one row group is in memory at a time."""
    ids = pa.array(wanted, pa.string())
    for path in paths:
        for part in tables.parts(path, tables.IMAGES, ["image_id", "image"]):
            shown = part.filter(pc.and_(pc.is_in(part["image_id"], value_set=ids), part["image"].is_valid()))
            for image_id, image in zip(shown["image_id"].to_pylist(), shown["image"], strict=True):
                yield image_id, image["bytes"].as_py()


def thumbnail_and_full(data: bytes, image_id: str) -> tuple[str, str]:
    """A thumbnail and a larger picture as data: URLs; the second is empty where the first has full size."""
    with naming("images", image_id, "make the images anew"):
        header = read_header(data)
        if max(header.size) <= THUMBNAIL and header.mime in {"image/png", "image/jpeg", "image/webp"}:
            return _address(data, header.mime), ""
        pixels = read_picture(data)
    full = _jpeg(pixels, FULL) if max(pixels.size) > THUMBNAIL else ""
    return _jpeg(pixels, THUMBNAIL), full


def _jpeg(image: Image.Image, side: int) -> str:
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return _address(file.getvalue(), "image/jpeg")


def _address(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
