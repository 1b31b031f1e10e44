"""Captions of picture files by an exported captioner."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from icsd.captioner.folder import read_manner
from icsd.captioner.model import Search, captions_of, load_captioner
from icsd.captioner.pictures import fitted
from icsd.errors import ICSDError, InputError

BATCH = 16  # pictures at once


class PicturesWithoutCaption(ICSDError):
    """Files that are no pictures, among those that were to be captioned."""

    def __init__(self, faults: Sequence[InputError], asked: int) -> None:
        super().__init__(faults, asked)
        self.faults, self.asked = faults, asked

    def __str__(self) -> str:
        lines = [f"{len(self.faults):,} of {self.asked:,} files have no caption:", *map(str, self.faults)]
        return "\n  ".join(lines)


def caption_files(folder: Path, paths: Sequence[Path]) -> Iterator[tuple[Path, str | InputError]]:
    """Each path with its caption, or with what is wrong with the file, in order; written as the pipeline does.

    ModelError where `folder` is no exported captioner.
    """
    manner = read_manner(folder)
    captioner = load_captioner(folder)
    search = Search(manner.beams, manner.min_tokens, manner.max_tokens, BATCH)
    for start in range(0, len(paths), BATCH):
        batch = [(path, _read(path, captioner.picture_size)) for path in paths[start : start + BATCH]]
        pixels = [read for _, read in batch if not isinstance(read, InputError)]
        captions = iter(captions_of(captioner, np.stack(pixels), manner.prefix, search) if pixels else [])
        yield from ((path, read if isinstance(read, InputError) else next(captions)) for path, read in batch)


def _read(path: Path, size: int) -> np.ndarray | InputError:
    try:
        with Image.open(path) as image:
            return fitted(image, size)
    except UnidentifiedImageError:
        return InputError(path, "", "is no picture that can be read", "give a PNG or JPEG file, or leave it out")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        return InputError(path, "", f"cannot be read ({reason})", "mend the file or its path, or leave it out")
