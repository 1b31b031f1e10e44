"""Photographs with their captions, as a corpus publishes them."""

import errno
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from icsd.core import tables
from icsd.core.errors import InputError, check_drop_share
from icsd.core.files import read_regular
from icsd.core.ids import real_image_id
from icsd.core.pictures import MAX_BYTES, PictureError, read_picture
from icsd.core.text import shown
from icsd.corpora import Corpus, Picture
from icsd.corpora.dropped import DroppedRecords

MODEL = "photograph"  # in place of a model in IMAGES
BATCH = 64  # pictures in memory at once
SHOWN = 10  # dropped pictures in the log
# errors of one file; any other one, such as EIO or EACCES, is of the disk or of the rights, and is mended
OF_THE_FILE = {
    errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.EFBIG, errno.ENXIO,
}  # fmt: skip
Row = dict[str, Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PictureTables:
    """The paths of the IMAGES, CAPTIONS, DOMAINS and LEDGER of photographs."""

    images: Path
    captions: Path
    domains: Path
    ledger: Path


def read_pictures(
    corpus: Corpus,
    folder: Path | None,
    split: str,
    paths: PictureTables,
    max_drop_share: float,
    max_record_share: float = 0.0,
) -> None:
    """Write the IMAGES of a corpus, with the bytes in `folder` or in the corpus, its CAPTIONS, DOMAINS and LEDGER.

    A picture that cannot be decoded, whose file is missing or none, or lies outside `folder`, is dropped with its
    captions, and the ledger has the reason. A picture without a caption is kept, and the log counts it. A record that
    cannot be used is in a second LEDGER, beside the captions. TooManyDroppedError for more dropped pictures than
    `max_drop_share` of all, or more records than `max_record_share`. InputError, naming file and record, for a picture
    file that is there and cannot be read.
    """
    dropped = DroppedRecords(max_record_share, "captions.max_drop_share")
    captions: list[Row] = []
    domains: list[Row] = []
    ledger: list[Row] = []
    found = _images(corpus, folder, captions, domains, ledger, dropped, max_drop_share)
    tables.write_batches(paths.images, tables.IMAGES, found)
    rows = [row | {"split": split} for row in sorted(captions, key=lambda row: row["caption_id"])]
    tables.write(paths.captions, tables.CAPTIONS, rows)
    tables.write(paths.domains, tables.DOMAINS, domains)
    tables.write(paths.ledger, tables.LEDGER, ledger)
    dropped.write(paths.captions)


def _images(
    corpus: Corpus,
    folder: Path | None,
    captions: list[Row],
    domains: list[Row],
    ledger: list[Row],
    dropped: DroppedRecords,
    max_drop_share: float,
) -> Iterator[list[Row]]:
    """Yield batches of rows of IMAGES, and add the rows of CAPTIONS, DOMAINS and LEDGER to the lists."""
    pictures, bare = corpus.pictures(dropped.drop), 0
    while batch := list(islice(pictures, BATCH)):
        images = []
        for picture in batch:
            data, problem = _checked(corpus, folder, picture)
            image_id = real_image_id(picture.image_id)
            ledger.append({"stage": "pictures", "item_id": image_id, "kept": not problem, "reason": problem or None})
            if not problem:
                images.append(_image(image_id, picture.name, data))
                captions.extend(_captions(picture))
                if picture.domain is not None:
                    domains.append({"image_id": picture.image_id, "domain": picture.domain})
                bare += not picture.captions
        yield images
    kept = sum(bool(row["kept"]) for row in ledger)
    _log.info("pictures: %s of %s kept, %s captions", f"{kept:,}", f"{len(ledger):,}", f"{len(captions):,}")
    if bare:
        _log.info("%s pictures have no caption", f"{bare:,}")
    # a record is a picture, a caption or a picture with its captions; some corpora have no captions
    dropped.check(max(len(ledger), len(captions)), corpus.paths[0])
    _check_drops(corpus.paths[0], ledger, max_drop_share)


def _checked(corpus: Corpus, folder: Path | None, picture: Picture) -> tuple[bytes, str]:
    """Return the bytes of a picture, and the reason why it cannot be used; empty for a picture that can."""
    if picture.data is not None:
        data, problem = picture.data, ""
    elif folder is None:
        problem = f"its picture {picture.name} is a file, and no folder is given"
        hint = "name the folder as its images in config/config.yaml"
        raise InputError(corpus.paths[0], f"image {picture.image_id}", problem, hint)
    else:
        data, problem = _file(corpus.paths[0], folder, picture)
    return data, problem or _decoding_problem(data)


def _file(annotations: Path, folder: Path, picture: Picture) -> tuple[bytes, str]:
    """Return the bytes of a picture's file, and the reason why there are none."""
    path = folder / picture.name
    try:
        if not _is_inside(folder, picture.name):
            return b"", f"leads out of the folder: {shown(picture.name)} in {folder}"
        return read_regular(path, MAX_BYTES), ""
    except OSError as error:
        if error.errno in OF_THE_FILE:
            return b"", f"cannot be read: {shown(picture.name)} in {folder}: {error.strerror}"
        problem = f"its picture {path} cannot be read ({error.strerror})"
        raise InputError(annotations, f"image {picture.image_id}", problem, "mend that and run again") from error


def _is_inside(folder: Path, name: str) -> bool:
    """Return whether the name, and the file that it links to, lie in the folder."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\0" in name:
        return False
    # of links in a circle, realpath returns one, and Path.resolve raises an error
    return Path(os.path.realpath(folder / name)).is_relative_to(os.path.realpath(folder))


def _decoding_problem(data: bytes) -> str:
    """Return the reason why these bytes are no picture; empty for a picture."""
    try:
        read_picture(data)  # the header alone does not show that a file was cut short
    except PictureError as error:
        return f"cannot be decoded: {error}"
    return ""


def _image(image_id: str, name: str, data: bytes) -> Row:
    image = {"bytes": data, "path": name}
    return {"image_id": image_id, "image": image, "sentence": "", "seed": 0, "model": MODEL}


def _captions(picture: Picture) -> list[Row]:
    return [{"caption_id": number, "image_id": picture.image_id, "caption": text} for number, text in picture.captions]


def _check_drops(path: Path, ledger: Sequence[Row], limit: float) -> None:
    dropped = {row["item_id"]: row["reason"] for row in ledger if not row["kept"]}
    for item, reason in islice(dropped.items(), SHOWN):
        _log.warning("%s of %s is dropped: it %s", item, path, reason)
    check_drop_share(
        dropped,
        len(ledger),
        items=f"pictures of {path}",
        setting="pictures.max_drop_share",
        limit=limit,
        hint="Name the right folder, replace the files or remove their records",
    )
