"""Predicted captions as COCO's evaluation servers take them: a JSON list of {"image_id", "caption"}."""

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from icsd.core.errors import InputError
from icsd.core.files import atomic_path
from icsd.core.text import truncated
from icsd.corpora.entries import LARGEST

HINT = 'give a COCO results file of the form [{"image_id": 42, "caption": "a dog"}, …]'


def write_results(path: Path | str, captions: Mapping[int, str]) -> None:
    """Write one record a picture, by the picture's id in its corpus."""
    rows = [{"image_id": image_id, "caption": caption} for image_id, caption in sorted(captions.items())]
    with atomic_path(path) as unfinished:
        unfinished.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def read_results(path: Path | str, pictures: Set[int], source: Path | str, partial: bool = False) -> dict[int, str]:
    """The caption of each picture by its id; InputError, naming the record, for all that is doubled or misshapen.

    `pictures` are those that `source` describes. One that is not among them is an error, and, unless `partial`, one of
    them that has no caption.
    """
    captions: dict[int, str] = {}
    for number, record in enumerate(_load(path)):
        image_id, caption = _record(path, f"[{number}]", record)
        place = f"[{number}] (image_id {image_id})"
        if image_id in captions:
            raise InputError(path, place, "doubles the image", "keep one caption of each picture")
        if image_id not in pictures:
            problem = f"the image is not among the {len(pictures):,} of {source}"
            raise InputError(path, place, problem, "give the annotations that the results are of")
        captions[image_id] = caption
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


def _record(path: Path | str, place: str, record: Any) -> tuple[int, str]:
    image_id, caption = (record.get("image_id"), record.get("caption")) if isinstance(record, dict) else (None, None)
    if not isinstance(image_id, int) or isinstance(image_id, bool) or abs(image_id) > LARGEST:
        raise InputError(path, place, f"has the image_id {_shown(image_id)}, not a whole number of 64 bits", HINT)
    if not isinstance(caption, str):
        raise InputError(path, f"{place} (image_id {image_id})", f"has the caption {_shown(caption)}, not a text", HINT)
    return image_id, caption


def _shown(value: Any) -> str:
    return truncated(json.dumps(value))
