"""Unpack one file or one folder of a zip or tar archive, and nothing outside it.

The extraction of the libraries does not fit. zipfile renames a member that leads out of the folder and writes a link as
a file; the filters of tarfile came with Python 3.11.4 and let links inside the folder pass.
"""

import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from icsd.core.errors import DownloadError, InputError
from icsd.core.files import atomic_path
from icsd.core.logs import progress

WAY_OUT = "mend downloads.files.{}.unpack in the config"
SHOWN_MEMBERS = 5
# each library fails in its own way for a damaged archive; an OSError without a number is of gzip or bz2
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError,
    OverflowError,
)  # fmt: skip
Open = Callable[[], IO[bytes]]
Files = Mapping[str, Open]  # the function that opens a file of the archive, by the file's name


def unpack(archive: Path, member: str, path: Path) -> None:
    """Write the archive's file `member` to `path`, or the content of its folder `member`, which ends with '/'.

    InputError for a file that is not a whole zip or tar archive, for a missing member, for a name that leads out of the
    folder, and for a link or a device anywhere in the archive.
    """
    try:
        with _opened(archive) as files:
            if member.endswith("/"):
                _unpack_folder(files, archive, member.removeprefix("./"), path)
            else:
                _unpack_file(files, archive, member, path)
    except DAMAGED as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno is None:
            raise _damaged(archive, error) from error
        raise DownloadError(f"{path}: cannot be unpacked from {archive}: {error}; is the disk full?") from error


def _damaged(archive: Path, error: Exception) -> InputError:
    way_out = "delete it and run snakemake again, or unpack it by hand"
    return InputError(archive, "", f"cannot be unpacked: {error}", way_out)


@contextmanager
def _opened(archive: Path) -> Iterator[Files]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            entries = [each for each in file.infolist() if not each.is_dir()]
            _refuse(archive, (each.filename for each in entries if stat.S_ISLNK(each.external_attr >> 16)))
            yield {each.filename: partial(file.open, each) for each in entries}
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            members = {each.name.removeprefix("./"): each for each in tar if not each.isdir()}  # tar -cf x.tar .
            _check_end(tar)
            _refuse(archive, (name for name, each in members.items() if not each.isreg()))
            yield {name: cast(Open, partial(tar.extractfile, each)) for name, each in members.items()}
    else:
        raise InputError(archive, "", "is no zip and no tar archive", WAY_OUT.format(archive))


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise ReadError for a tar archive that is damaged or cut short: tarfile takes a broken header for the end.

    The end is a block of zeros. What follows is read too, since the checksum of a compressed file is its last word.
    """
    file = cast(IO[bytes], tar.fileobj)
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it is damaged or cut short: it has no end")
    while file.read(2**20):
        pass


def _refuse(archive: Path, special: Iterator[str]) -> None:
    for name in special:
        hint = "an archive of data needs none: unpack it by hand if you trust it"
        raise InputError(archive, repr(name), "is a link or a device", hint)


def _unpack_file(files: Files, archive: Path, member: str, path: Path) -> None:
    if member not in files:
        raise InputError(archive, "", f"holds no file {member}, but {_shown(files)}", WAY_OUT.format(archive))
    with atomic_path(path) as unfinished:
        _write(files[member], unfinished)


def _unpack_folder(files: Files, archive: Path, folder: str, path: Path) -> None:
    inside = {name.removeprefix(folder): name for name in files if name.startswith(folder)}
    if not inside:
        raise InputError(archive, "", f"holds no file in {folder}, but {_shown(files)}", WAY_OUT.format(archive))
    for relative, name in inside.items():
        if (
            PurePosixPath(relative).is_absolute()
            or ".." in PurePosixPath(relative).parts
            or "\\" in name
            or "\0" in name
        ):
            raise InputError(archive, repr(name), "leads out of the folder", "such an archive is not to be trusted")
    with atomic_path(path) as unfinished:
        unfinished.mkdir()
        for relative, name in progress(inside.items(), len(inside), "files"):
            _write(files[name], unfinished / relative)


def _write(open_member: Open, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_member() as content, path.open("wb") as file:
        shutil.copyfileobj(content, file, 2**20)


def _shown(files: Files) -> str:
    names = list(files)
    more = f" and {len(names) - SHOWN_MEMBERS:,} more" if len(names) > SHOWN_MEMBERS else ""
    return (", ".join(names[:SHOWN_MEMBERS]) or "nothing") + more
