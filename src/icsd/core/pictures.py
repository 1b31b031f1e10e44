"""The one decoder of pictures: the bytes of a file, or a file, to a regular RGB picture.

Every picture that the project reads goes through here, whether a model drew it or a corpus published it. What all
pictures have to undergo (EXIF orientation, transparency, 16-bit grey, a limit on size) belongs into `read_picture`.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from icsd.core.errors import ICSDError, InputError

# named, so that PIL tries no other format: it would start Ghostscript for an EPS file of any name
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
AGAIN = "delete the file and run snakemake again"


class PictureError(ICSDError):
    """Bytes or a file that cannot be decoded; the message is the reason alone, without the place."""


@dataclass(frozen=True)
class Header:
    """Format (`PNG`), MIME type (`image/png`), and width and height in pixels."""

    format: str
    mime: str
    size: tuple[int, int]


def read_picture(source: bytes | Path) -> Image.Image:
    """Decode a picture to RGB. PictureError if it is cut short, damaged or of another format than FORMATS."""
    with _opened(source) as image:
        return image.convert("RGB")


def read_header(source: bytes | Path) -> Header:
    """Read format and size without decoding the pixels. PictureError if there is no header of a picture."""
    with _opened(source) as image:
        kind = image.format or ""
        return Header(kind, Image.MIME.get(kind, ""), image.size)


@contextmanager
def naming(table: Path | str, image_id: str, hint: str = AGAIN) -> Iterator[None]:
    """Turn a PictureError inside into the InputError of that picture in an IMAGES table."""
    try:
        yield
    except PictureError as error:
        raise InputError(table, image_id, f"is no picture that can be read ({error})", hint) from error


@contextmanager
def _opened(source: bytes | Path) -> Iterator[Image.Image]:
    # a picture is outside data, and each of PIL's readers fails in its own way: OSError, SyntaxError, struct.error, …
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            yield image
    except UnidentifiedImageError as error:
        raise PictureError("not the bytes of a picture") from error
    except MemoryError:
        raise  # not an error of the picture
    except Exception as error:
        raise PictureError(getattr(error, "strerror", None) or str(error) or type(error).__name__) from error
