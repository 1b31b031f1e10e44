"""Out of zip and tar archives: a file or a folder, and never anything beside it."""

import shutil
import stat
import tarfile
import zipfile
import zlib
from contextlib import closing
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from icsd.core.errors import DownloadError, InputError
from icsd.core.files import atomic_path
from icsd.core.logs import progress

WAY_OUT = "mend downloads.files.{}.unpack in the config"
LINK = ("is a link or a device", "an archive of data needs none: unpack it by hand if you trust it")
SHOWN_MEMBERS = 5


class _Archive(Protocol):
    """What both kinds have in common."""

    def names(self) -> list[str]:
        """Files and folders, folders with '/' at the end. InputError for anything else."""

    def open(self, name: str) -> IO[bytes]:
        """A file's content."""

    def close(self) -> None:
        """Let go of the file."""


def unpack(archive: Path, member: str, path: Path) -> None:
    """Write the archive's file `member` to `path`, or what is in its folder `member`, which ends with '/'.

    InputError for a file that is no zip or tar archive, or is damaged; for a member that is not there; and for names
    that lead out of the folder, and for links: an archive of data needs none.
    """
    try:
        with closing(_opened(archive)) as opened:
            if member.endswith("/"):
                _unpack_folder(opened, archive, "" if member == "./" else member, path)
            else:
                _unpack_file(opened, archive, member, path)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        way_out = "delete it and run snakemake again, or unpack it by hand"
        raise InputError(archive, "", f"cannot be unpacked: {error}", way_out) from error
    except OSError as error:
        raise DownloadError(f"{path}: cannot be unpacked from {archive}: {error}; is the disk full?") from error


def _unpack_file(opened: _Archive, archive: Path, member: str, path: Path) -> None:
    names = opened.names()
    if member not in names:
        raise InputError(archive, "", f"holds no file {member}, but {_shown(names)}", WAY_OUT.format(archive))
    with atomic_path(path) as unfinished:
        _write(opened, member, unfinished)


def _unpack_folder(opened: _Archive, archive: Path, folder: str, path: Path) -> None:
    names = opened.names()
    files = [name for name in names if name.startswith(folder) and not name.endswith("/")]
    if not files:
        raise InputError(archive, "", f"holds no file in {folder}, but {_shown(names)}", WAY_OUT.format(archive))
    for name in files:
        relative = PurePosixPath(name.removeprefix(folder))
        if relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name:
            raise InputError(archive, repr(name), "leads out of the folder", "such an archive is not to be trusted")
    with atomic_path(path) as unfinished:
        unfinished.mkdir()
        for name in progress(files, len(files), "files"):
            _write(opened, name, unfinished / name.removeprefix(folder))


def _write(opened: _Archive, name: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(name) as content, path.open("wb") as file:
        shutil.copyfileobj(content, file, 2**20)


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_MEMBERS:,} more" if len(names) > SHOWN_MEMBERS else ""
    return (", ".join(names[:SHOWN_MEMBERS]) or "nothing") + more


def _opened(archive: Path) -> "_Zip | _Tar":
    if zipfile.is_zipfile(archive):
        return _Zip(archive)
    if tarfile.is_tarfile(archive):
        return _Tar(archive)
    raise InputError(archive, "", "is no zip and no tar archive", WAY_OUT.format(archive))


class _Zip:
    def __init__(self, path: Path) -> None:
        self._path, self._file = path, zipfile.ZipFile(path)

    def names(self) -> list[str]:
        for member in self._file.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                raise InputError(self._path, repr(member.filename), *LINK)
        return self._file.namelist()

    def open(self, name: str) -> IO[bytes]:
        return self._file.open(name)

    def close(self) -> None:
        self._file.close()


class _Tar:
    def __init__(self, path: Path) -> None:
        self._path, self._file = path, tarfile.TarFile.open(path)

    @cached_property
    def _members(self) -> dict[str, tarfile.TarInfo]:
        return {_plain(each.name): each for each in self._file if not each.isdir()}

    def names(self) -> list[str]:
        for name, member in self._members.items():
            if not member.isreg():
                raise InputError(self._path, repr(name), *LINK)
        return list(self._members)

    def open(self, name: str) -> IO[bytes]:
        return cast(IO[bytes], self._file.extractfile(self._members[name]))  # None is for what is no file

    def close(self) -> None:
        self._file.close()


def _plain(name: str) -> str:
    """`tar -cf x.tar .` writes ./ before every name."""
    return name.removeprefix("./")
