"""Annotation JSON as COCO publishes captions: pictures, and what people said of them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icsd.errors import InputError

SHAPE = '{"images": [{"id", "file_name"}, …], "annotations": [{"id", "image_id", "caption"}, …]}'
HINT = f"give an annotation file of the form {SHAPE}"
LARGEST = 2**63 - 1  # what a column of ids holds
SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Annotations:
    """File names by the picture's id, and (caption id, picture's id, caption) in the file's order."""

    file_names: dict[int, str]
    captions: list[tuple[int, int, str]]


def read_annotations(path: Path) -> Annotations:
    """What the file holds; InputError, naming the record, for all that is missing, doubled or misshapen."""
    document = _load(path)
    file_names: dict[int, str] = {}
    for record, place in _records(path, document, "images"):
        image_id, file_name = _number(path, record, place, "id"), _text(path, record, place, "file_name")
        if image_id in file_names:
            raise InputError(path, place, f"doubles the id {image_id}", "keep one of the two")
        file_names[image_id] = file_name
    captions: dict[int, tuple[int, int, str]] = {}
    for record, place in _records(path, document, "annotations"):
        caption_id, image_id = _number(path, record, place, "id"), _number(path, record, place, "image_id")
        if caption_id in captions:
            raise InputError(path, place, f"doubles the id {caption_id}", "keep one of the two")
        if image_id not in file_names:
            problem = f"annotation {caption_id} is of image {image_id}, which is not among the images"
            raise InputError(path, place, problem, "add the image or remove the annotation")
        captions[caption_id] = caption_id, image_id, _text(path, record, place, "caption")
    return Annotations(file_names, list(captions.values()))


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"))  # some editors begin a file with a mark
    except OSError as error:
        problem = (
            "there is no such file" if isinstance(error, FileNotFoundError) else f"is unreadable ({error.strerror})"
        )
        raise InputError(path, "", problem, "mend its path in config/config.yaml") from error
    except UnicodeDecodeError as error:
        raise InputError(path, f"byte {error.start:,}", "is not UTF-8", "convert the file to UTF-8") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(path, place, f"is not JSON ({error.msg}); was it cut short?", HINT) from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, brackets 100,000 deep
        raise InputError(path, "", f"is JSON that cannot be read ({error})", HINT) from error
    if not isinstance(document, dict):
        raise InputError(path, "", f"holds a {type(document).__name__}, not an object", HINT)
    return document


def _records(path: Path, document: dict[str, Any], name: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Each record of a list and its place in the file."""
    records = document.get(name)
    if not isinstance(records, list):
        raise InputError(path, name, "is no list" if name in document else "is missing", HINT)
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise InputError(path, f"{name}[{number}]", "is no object", HINT)
        known = f" (id {record['id']})" if isinstance(record.get("id"), int) else ""
        yield record, f"{name}[{number}]{known}"


def _number(path: Path, record: dict[str, Any], place: str, key: str) -> int:
    value = record.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST:
        raise InputError(path, place, _unfit(record, key, "a whole number of 64 bits"), HINT)
    return value


def _text(path: Path, record: dict[str, Any], place: str, key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise InputError(path, place, _unfit(record, key, "a text"), HINT)
    if not value.strip():
        raise InputError(path, place, f"its {key} is empty", "give it one or remove the record")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # an escape such as \ud800 alone
        problem = f"character {error.start} of its {key} is half of a surrogate pair"
        raise InputError(path, place, problem, "mend or remove the record") from error
    return value


def _unfit(record: dict[str, Any], key: str, wanted: str) -> str:
    if key not in record:
        return f"has no {key}"
    shown = json.dumps(record[key])
    if len(shown) > SHOWN_CHARACTERS:
        shown = shown[: SHOWN_CHARACTERS - 1] + "…"
    return f"its {key} is {shown}, not {wanted}"
