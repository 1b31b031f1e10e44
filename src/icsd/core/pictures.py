"""The one decoder of pictures: the bytes of a file, or a file, to a regular RGB picture.

Every picture that the project reads goes through here, whether a model drew it or a corpus published it. A picture is
turned as its EXIF orientation says, laid on white where it is transparent, and scaled to 8 bits. A picture too large or
too thin is refused by its header, before its pixels are decoded.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from icsd.core.errors import AGAIN, ICSDError, InputError
from icsd.core.files import read_regular

# named, so that PIL tries no other format: it would start Ghostscript for an EPS file of any name
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
MAX_BYTES = 2**28
MAX_PIXELS = 2**26  # 8,192 x 8,192: 200 MB as RGB
MAX_ASPECT = 50  # of the longer to the shorter side: where the shorter becomes 224 pixels, the longer is still 11,200
SIXTEEN_BITS = 2**16 - 1
TRANSPOSED = (5, 6, 7, 8)  # orientations that exchange width and height


class PictureError(ICSDError):
    """Bytes or a file that cannot be decoded; the message is the reason alone, without the place."""


@dataclass(frozen=True)
class Header:
    """Format (`PNG`), MIME type (`image/png`), and width and height in pixels as the picture is shown."""

    format: str
    mime: str
    size: tuple[int, int]


def read_picture(source: bytes | Path) -> Image.Image:
    """Decode a picture to RGB. PictureError if it is damaged, too large or too thin, or of another format."""
    with _opened(source) as image:
        image.load()
        return on_white(ImageOps.exif_transpose(image) if _orientation(image) != 1 else image)


def read_header(source: bytes | Path) -> Header:
    """Read format and size without decoding the pixels. PictureError if there is no header of a picture."""
    with _opened(source) as image:
        kind = (image.format or "").replace("MPO", "JPEG")  # a JPEG of a phone with further pictures behind it
        width, height = image.size
        # PIL exchanges the sides of a TIFF itself
        turned = kind != "TIFF" and _orientation(image) in TRANSPOSED
        return Header(kind, Image.MIME.get(kind, ""), (height, width) if turned else (width, height))


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
        data = source if isinstance(source, bytes) else read_regular(source, MAX_BYTES)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size)
            yield image
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError("not the bytes of a picture") from error
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:  # PIL's own limits, above MAX_PIXELS
        raise PictureError(f"it has more than {MAX_PIXELS:,} pixels") from error
    except MemoryError as error:  # the size is small: a length in a damaged file is not
        raise PictureError("it asks for more memory than there is") from error
    except Exception as error:
        raise PictureError(getattr(error, "strerror", None) or str(error) or type(error).__name__) from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PictureError(f"{width:,} x {height:,} pixels are more than {MAX_PIXELS:,}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PictureError(f"{width:,} x {height:,} pixels: one side is more than {MAX_ASPECT} times the other")


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8; 1 (as stored) without one, or where EXIF is damaged."""
    if "exif" not in image.info:
        return 1  # getexif() of a PNG would decode the picture
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the picture itself may be whole
        return 1


def on_white(image: Image.Image) -> Image.Image:
    """Convert a decoded picture to RGB: 16 bits to 8, transparency on white."""
    if image.mode.startswith(("I", "F")):
        return _scaled(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    front = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", front.size, "white"), front).convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """Scale grey of 16 bits to 8. PictureError for grey of 32 bits with values that are not of 16 bits."""
    grey = np.asarray(image)
    if image.mode == "F" or (grey.size and not 0 <= int(grey.min()) <= int(grey.max()) <= SIXTEEN_BITS):
        raise PictureError("its grey has 32 bits, and no known white: save it with 8 or 16")
    scaled = ((grey.astype(np.uint32) * 255 + SIXTEEN_BITS // 2) // SIXTEEN_BITS).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[grey == transparent] = 255
    return Image.fromarray(scaled).convert("RGB")
