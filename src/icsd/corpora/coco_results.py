"""Read and write predicted captions as COCO's evaluation takes them: a JSON list of {"image_id", "caption"}."""

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from icsd.core.errors import InputError
from icsd.core.files import atomic_path
from icsd.corpora.entries import Record, records, shown

HINT = 'give a COCO results file of the form [{"image_id": 42, "caption": "a dog"}, …]'


def write_results(path: Path | str, captions: Mapping[int, str]) -> None:
    """Write a record for each picture, in the order of the pictures' ids in their corpus."""
    rows = [{"image_id": image_id, "caption": caption} for image_id, caption in sorted(captions.items())]
    with atomic_path(path) as unfinished:
        unfinished.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def read_results(path: Path | str, pictures: Set[int], source: Path | str, partial: bool = False) -> dict[int, str]:
    """Return the caption of each picture by its id; InputError, naming the record, for a duplicate or malformed one.

    `pictures` are the pictures of the annotations `source`. A caption of any other picture is an error, and so is,
    unless `partial`, a picture without a caption.
    """
    captions: dict[int, str] = {}
    for record in records(Path(path), _load(path), "", HINT):
        image_id = record.number("image_id")
        place = f"{record.place} (image_id {image_id})"
        if image_id in captions:
            raise InputError(path, place, "repeats the image", "keep one caption of each picture")
        if image_id not in pictures:
            problem = f"the image is not among the {len(pictures):,} of {source}"
            raise InputError(path, place, problem, "give the annotations that the results are of")
        captions[image_id] = _caption(record, place)
    missing = sorted(pictures - captions.keys())
    if not captions:
        raise InputError(path, "", "holds no caption", HINT)
    if missing and not partial:
        problem = f"has no caption of image {missing[0]}, nor of {len(missing) - 1:,} more of {source}"
        raise InputError(path, "", problem, "caption every picture, or score those of the file alone (--partial)")
    return captions


def _load(path: Path | str) -> list[Any]:
    try:
        document = json.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error.strerror})", "mend the path") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        raise InputError(path, "", f"is not JSON ({error}); was it cut short?", HINT) from error
    if not isinstance(document, list):
        raise InputError(path, "", f"holds a {type(document).__name__}, not a list", HINT)
    return document


def _caption(record: Record, place: str) -> str:
    """The caption, which may be empty."""
    caption = record.values.get("caption")
    if not isinstance(caption, str):
        raise InputError(record.path, place, f"has the caption {shown(caption)}, not a text", HINT)
    if caption.strip():
        Record(record.path, place, {}, HINT).check_text("caption", caption)  # half of a surrogate pair
    return caption
