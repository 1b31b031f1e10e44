"""Out of archives: what is named, and nothing beside the folder."""

import bz2
import gzip
import io
import lzma
import random
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from icsd.core.archives import unpack
from icsd.core.errors import InputError

FILES = {"annotations/captions.json": b"{}", "val2014/1.jpg": b"one", "val2014/more/2.jpg": b"two"}


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("val2014/", b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}" if path.suffix == ".gz" else name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def _archive(name: str, folder: Path, files: dict[str, bytes]) -> Path:
    return (_zip if name.endswith(".zip") else _tar)(folder / name, files)


def _content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


KINDS = pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])


@KINDS
def test_a_file_and_a_folder_come_out(name: str, tmp_path: Path) -> None:
    archive = _archive(name, tmp_path, FILES)
    unpack(archive, "annotations/captions.json", tmp_path / "out" / "captions.json")
    unpack(archive, "val2014/", tmp_path / "out" / "pictures")
    unpack(archive, "./", tmp_path / "all")
    assert _content(tmp_path / "out") == {
        "captions.json": b"{}",
        "pictures/1.jpg": b"one",
        "pictures/more/2.jpg": b"two",
    }
    assert _content(tmp_path / "all") == FILES


@KINDS
@pytest.mark.parametrize("escape", ["../out.txt", "val2014/../../out.txt", "/out.txt", "val2014//out.txt"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, escape: str, tmp_path: Path) -> None:
    archive = _archive(name, tmp_path, FILES | {escape: b"bad"})
    member = "val2014/" if escape.startswith("val2014/") else "./"
    before = _content(tmp_path)
    with pytest.raises(InputError, match=r"leads out of the folder; such an archive is not to be trusted$"):
        unpack(archive, member, tmp_path / "in" / "pictures")
    assert _content(tmp_path) == before


def test_links_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("val2014/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        info = zipfile.ZipInfo("val2014/link")
        info.external_attr = 0o120777 << 16
        zipped.writestr(info, "/etc")
    for name in ("a.tar", "a.zip"):
        with pytest.raises(InputError, match=r"'val2014/link': is a link or a device"):
            unpack(tmp_path / name, "val2014/", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("member", "problem"), [("captions.json", "no file captions.json"), ("x/", "no file in x/")])
@KINDS
def test_a_member_that_is_not_there_is_named_with_what_is(name: str, member: str, problem: str, tmp_path: Path) -> None:
    archive = _archive(name, tmp_path, FILES)
    with pytest.raises(
        InputError, match=rf"holds {problem}, but .*annotations/captions\.json.*; mend downloads\.files"
    ):
        unpack(archive, member, tmp_path / "out")


@KINDS
def test_a_cut_archive_is_one_message_and_nothing_is_left(name: str, tmp_path: Path) -> None:
    archive = _archive(name, tmp_path, FILES | {"val2014/big.jpg": random.Random(0).randbytes(100_000)})
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(InputError, match=r"(cannot be unpacked: .*|is no zip and no tar archive); "):
        unpack(archive, "val2014/", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(InputError, match="is no zip and no tar archive"):
        unpack(tmp_path / "a.rar", "./", tmp_path / "out")


@pytest.mark.parametrize("mode", ["", "gz", "bz2", "xz"])
def test_a_damaged_tar_is_one_message_and_nothing_is_left(mode: str, tmp_path: Path) -> None:
    """At every 37th byte, and cut at every member: tarfile itself takes a broken header for the archive's end."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{mode}") as archive:
        for number in range(6):
            member = tarfile.TarInfo(f"val2014/{number}.jpg")
            member.size = 600
            archive.addfile(member, io.BytesIO(random.Random(number).randbytes(600)))
    whole, path, out = file.getvalue(), tmp_path / "a.tar", tmp_path / "out"
    path.write_bytes(whole)
    unpack(path, "val2014/", out)
    expected = _content(out)
    assert len(expected) == 6
    damaged = [whole[:place] + b"\xa5\x5a" + whole[place + 2 :] for place in range(0, len(whole), 37)]
    cut = [whole[:place] for place in range(512, len(whole) - 1024, 512)]
    silent = 0
    for data in [*damaged, *cut]:
        path.write_bytes(data)
        shutil.rmtree(out, ignore_errors=True)
        try:
            unpack(path, "val2014/", out)
        except InputError as error:
            assert "\n" not in str(error) and "disk full" not in str(error)
            assert not out.exists()
        else:
            silent += _content(out).keys() != expected.keys() or mode != "" and _content(out) != expected
    assert silent == 0


@pytest.mark.parametrize("suffix", ["xz", "lzma", "gz", "bz2"])
def test_a_compressed_file_that_is_damaged_is_one_message(suffix: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("a.json")
        member.size = 100_000
        archive.addfile(member, io.BytesIO(random.Random(0).randbytes(100_000)))
    packed = {"xz": lzma.compress, "gz": gzip.compress, "bz2": bz2.compress}.get(
        suffix, lambda data: lzma.compress(data, lzma.FORMAT_ALONE)
    )(file.getvalue())
    path = tmp_path / f"a.tar.{suffix}"
    path.write_bytes(packed)
    unpack(path, "a.json", tmp_path / "a.json")
    path.write_bytes(packed[:50_000] + bytes(100) + packed[50_100:])
    with pytest.raises(InputError, match=r"cannot be unpacked: |is no zip and no tar archive"):
        unpack(path, "a.json", tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()
