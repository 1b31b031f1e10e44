"""The decoder of pictures: RGB from every format it names, one error for all else."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from icsd.core.errors import InputError
from icsd.core.pictures import FORMATS, Header, PictureError, naming, read_header, read_picture

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
