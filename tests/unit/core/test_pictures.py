"""The decoder of pictures: RGB from every format it names, one error for all else."""

import io
import os
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from icsd.core.errors import InputError
from icsd.core.pictures import (
    FORMATS,
    MAX_ASPECT,
    MAX_PIXELS,
    Header,
    PictureError,
    naming,
    read_header,
    read_picture,
)

PIXELS = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
LOSSLESS = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}, "AVIF": {"quality": 100}}
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"


def _file(kind: str, image: Image.Image | None = None) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, kind, **LOSSLESS.get(kind, {}))
    return file.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_named_format_is_read_as_rgb(kind: str, tmp_path: Path) -> None:
    data = _file(kind)
    (tmp_path / "picture").write_bytes(data)
    for source in (data, tmp_path / "picture"):
        picture = read_picture(source)
        assert (picture.mode, picture.size) == ("RGB", (4, 6))
        assert np.abs(np.asarray(picture).astype(int) - PIXELS).max() <= (0 if kind in {"PNG", "BMP", "TIFF"} else 40)
        assert read_header(source) == Header(kind, Image.MIME[kind], (4, 6))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.new(mode, (4, 6)) if mode == "I;16" else Image.fromarray(PIXELS).convert(mode)
    data = _file("TIFF" if mode == "CMYK" else "PNG", image)
    assert read_picture(data).tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()


@pytest.mark.parametrize("data", [b"", b"no picture", EPS])
def test_bytes_of_no_named_format_are_no_picture(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    for read in (read_picture, read_header):
        with pytest.raises(PictureError, match=r"^not the bytes of a picture$"):
            read(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_a_file_that_is_cut_short_is_an_error(kind: str) -> None:
    data = _file(kind, Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)))
    with pytest.raises(PictureError):
        read_picture(data[: len(data) // 2])


def test_whatever_a_reader_raises_is_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise struct.error("unpack requires a buffer of 4 bytes")

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", broken)
    with pytest.raises(PictureError, match=r"^unpack requires a buffer of 4 bytes$"):
        read_picture(_file("JPEG"))


def test_a_missing_file_is_the_same_error(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"^No such file or directory$"):
        read_picture(tmp_path / "nowhere.png")


def test_a_picture_of_a_table_is_named() -> None:
    expected = r"^images\.parquet, multi-1: is no picture that can be read \(not the bytes of a picture\); delete"
    with pytest.raises(InputError, match=expected), naming("images.parquet", "multi-1"):
        read_picture(b"no picture")


# --- What pictures from elsewhere have --------------------------------------------------------------------------------

RED, BLUE, GREEN, WHITE = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_a_picture_is_turned_as_exif_says(kind: str) -> None:
    stored = Image.new("RGB", (20, 10), RED)
    stored.paste(BLUE, (10, 0, 20, 10))  # red to the left of blue
    exif = Image.Exif()
    exif[0x0112] = 6  # the left side is the top
    file = io.BytesIO()
    stored.save(file, kind, exif=exif, **LOSSLESS.get(kind, {}))
    picture = read_picture(file.getvalue())
    assert picture.size == read_header(file.getvalue()).size == (10, 20)
    assert (picture.getpixel((5, 2)), picture.getpixel((5, 17))) == (RED, BLUE)


def test_damaged_exif_leaves_a_picture_as_it_is() -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(np.asarray(read_picture(file.getvalue())), PIXELS)


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "PA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    front = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    front.paste((0, 255, 0, 255), (0, 0, 4, 8))
    if mode == "P":
        image = Image.new("P", (8, 8), 0)
        image.putpalette([0, 0, 0, 0, 255, 0])
        image.paste(1, (0, 0, 4, 8))
        file = io.BytesIO()
        image.save(file, "PNG", transparency=0)
        data = file.getvalue()
    else:
        data = _file("PNG", front if mode == "RGBA" else front.convert("LA"))
    picture = read_picture(data)
    assert picture.getpixel((6, 4)) == WHITE
    assert picture.getpixel((1, 4)) == (GREEN if mode in ("RGBA", "P") else (150, 150, 150))


def test_sixteen_bits_of_grey_become_eight() -> None:
    ramp = np.linspace(0, 65_535, 256).round().astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        grey = np.asarray(read_picture(_file(kind, Image.fromarray(ramp[None].repeat(8, 0)))))
        assert np.array_equal(grey[0, :, 0], np.arange(256))


def test_grey_of_32_bits_is_refused() -> None:
    for dtype in (np.float32, np.int32):
        data = _file("TIFF", Image.fromarray(np.full((4, 4), 70_000, dtype=dtype)))
        with pytest.raises(PictureError, match="32 bits"):
            read_picture(data)


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (16_384, 8_192)])
def test_a_picture_too_thin_or_too_large_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    header = struct.pack(">II5B", *size, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PictureError, match=r"one side is more than 50 times|more than 67,108,864"):
        read_picture(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    assert size[0] * size[1] > MAX_PIXELS or max(size) > MAX_ASPECT


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero"), tmp_path):
        with pytest.raises(PictureError, match=r"not a regular file|Is a directory"):
            read_picture(path)


def _damaged(rng: np.random.Generator, whole: bytes) -> bytes:
    data = bytearray(whole)
    kind = rng.integers(4)
    if kind == 0:
        del data[int(rng.integers(len(data))) :]
    elif kind == 1:
        start = int(rng.integers(len(data)))
        del data[start : start + int(rng.integers(1, 40))]
    else:
        most = len(data) if kind == 2 else min(64, len(data))  # anywhere, or in the header
        for place in rng.integers(most, size=int(rng.integers(1, 12))).tolist():
            data[place] = int(rng.integers(256))
    return bytes(data)


def test_500_damaged_pictures_are_read_or_refused() -> None:
    rng = np.random.default_rng(17)
    noise = rng.integers(0, 256, (24, 31, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 8
    modes = {"PNG": ("RGB", "RGBA", "P", "LA", "L"), "TIFF": ("RGB", "CMYK", "L", "1"), "GIF": ("P", "L")}
    whole = [
        _file(kind, Image.fromarray(noise).convert(mode)) for kind in FORMATS for mode in modes.get(kind, ("RGB",))
    ]
    for kind in ("PNG", "JPEG", "TIFF"):
        file = io.BytesIO()
        Image.fromarray(noise).save(file, kind, exif=exif, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
        whole.append(file.getvalue())
    refused = 0
    for number in range(500):
        data = _damaged(rng, whole[number % len(whole)])
        for read in (read_header, read_picture):
            try:
                found = read(data)
            except PictureError as error:
                refused += read is read_picture
                assert str(error)
            else:
                assert isinstance(found, Header) or found.mode == "RGB"
    assert 100 < refused < 500
