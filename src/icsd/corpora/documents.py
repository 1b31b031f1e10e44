"""Readers of the layouts that are one JSON document: COCO, NoCaps, Karpathy, BLIP.

A document is parsed whole. The largest published one, dataset_coco.json with 616,767 captions, takes 560 MB of memory.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from icsd.core.errors import InputError
from icsd.corpora.entries import (
    Caption,
    Entry,
    Record,
    RecordError,
    records,
    shown,
    unreadable_file,
    unusable,
    whole_number,
)

DOMAINS = ("in-domain", "near-domain", "out-domain")


class Document(NamedTuple):
    """A layout: its shape in words, a check that returns what a parsed file lacks ("" for nothing), and its reader."""

    shape: str
    lacks: Callable[[Any], str]
    entries: Callable[[Path, Any, str], Iterator[Entry]]


def load(path: Path) -> Any:
    """Parse a file; InputError if it cannot be read, is not UTF-8 or not JSON."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # some editors write a byte order mark
        return json.loads(text, object_hook=_without_tokens)
    except OSError as error:
        raise unreadable_file(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError(path, f"byte {error.start:,}", "is not UTF-8", "convert the file to UTF-8") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        hint = (
            "give a whole file" if error.msg != "Extra data" else "if each line is an object, set its layout to jsonl"
        )
        raise InputError(path, place, f"is not JSON ({error.msg}); was it cut short?", hint) from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, brackets 100,000 deep
        raise InputError(path, "", f"is JSON that cannot be read ({error})", "give another file") from error


def _without_tokens(record: dict[str, Any]) -> dict[str, Any]:
    record.pop("tokens", None)  # half of the memory of Karpathy's files, and not used
    return record


# --- COCO and NoCaps --------------------------------------------------------------------------------------------------


def _lacks_coco(document: Any) -> str:
    return _lacks_lists(document, "images", "annotations")


def _lacks_nocaps(document: Any) -> str:
    lacking = _lacks_coco(document)
    if lacking or not document["images"]:
        return lacking
    return _lacks_keys(document["images"][0], "images[0]", "domain")


def _lacks_lists(document: Any, *names: str) -> str:
    if not isinstance(document, dict):
        return f"it holds a {type(document).__name__}, not an object"
    for name in names:
        if not isinstance(document.get(name), list):
            return f"{name} is no list" if name in document else f"{name} is missing"
    return ""


def _lacks_keys(record: Any, place: str, *keys: str) -> str:
    if not isinstance(record, dict):
        return f"{place} is no object"
    return next((f"{place} has no {key}" for key in keys if key not in record), "")


def _coco(path: Path, document: Any, hint: str) -> Iterator[Entry]:
    """Yield the images in the order of the file, each with its captions in the order of the file.

    The records that cannot be used come last.
    """
    images, known, wrong = dict[int, Entry](), set[int](), list[Entry]()
    for record in records(path, document["images"], "images", hint):
        try:
            image_id = _new_id(record, "id", known)
            name = None if record.values.get("file_name") is None else record.text("file_name")
            images[image_id] = Entry((), record.place, image_id, None, name, domain=_domain(record))
        except RecordError as error:
            wrong.append(unusable(error))
    captions = _annotations(path, document, hint, images, wrong)
    for image_id, entry in images.items():
        yield entry._replace(captions=tuple(captions[image_id]))
    yield from wrong


def _annotations(
    path: Path, document: Any, hint: str, images: dict[int, Entry], wrong: list[Entry]
) -> defaultdict[int, list[Caption]]:
    """Return the captions of each image, and add to `wrong` the records that are of none."""
    captions, known = defaultdict[int, list[Caption]](list), set[int]()
    for record in records(path, document["annotations"], "annotations", hint):
        try:
            caption_id, image_id = _caption_id(record, "id", known), record.number("image_id")
            if image_id not in images:
                problem = f"its image {image_id} is not among the images"
                raise RecordError(path, record.place, problem, "add the image or remove the annotation")
        except RecordError as error:
            wrong.append(unusable(error))
        else:
            captions[image_id].append(record.caption("caption", record.values.get("caption"), caption_id))
    return captions


def _caption_id(record: Record, key: str, known: set[int]) -> int | None:
    """Return a caption's id; None for a record without one, whose caption is numbered."""
    return None if record.is_object and key not in record.values else _new_id(record, key, known)


def _new_id(record: Record, key: str, known: set[int]) -> int:
    """Return an id and add it to the known ones; InputError for one that is known."""
    number = record.number(key)
    if number in known:
        raise InputError(record.path, record.place, f"repeats the id {number}", "keep one of the two")
    known.add(number)
    return number


def _domain(record: Record) -> str | None:
    """Return NoCaps' name of the domain, "in-domain"; some copies of the file have "in"."""
    if "domain" not in record.values:
        return None
    domain = record.text("domain").removesuffix("-domain") + "-domain"
    if domain not in DOMAINS:
        raise record.error(f"its domain is {shown(record.values['domain'])}, not one of {', '.join(DOMAINS)}")
    return domain


# --- Karpathy ---------------------------------------------------------------------------------------------------------


def _lacks_karpathy(document: Any) -> str:
    lacking = _lacks_lists(document, "images")
    if lacking or not document["images"]:
        return lacking
    return _lacks_keys(document["images"][0], "images[0]", "sentences", "split")


def _karpathy(path: Path, document: Any, hint: str) -> Iterator[Entry]:
    """Yield the images in the order of the file; the id is `cocoid`, or `imgid` in the file of Flickr30k."""
    images, captions = set[int](), set[int]()
    for record in records(path, document["images"], "images", hint):
        try:
            image_id = _new_id(record, "cocoid" if "cocoid" in record.values else "imgid", images)
            folder = f"{record.text('filepath')}/" if "filepath" in record.values else ""
            split, name = record.text("split"), folder + record.text("filename")
            sentences = tuple(_sentence(each, captions) for each in record.records("sentences"))
            yield Entry(sentences, record.place, image_id, split, name)
        except RecordError as error:
            yield unusable(error)


def _sentence(record: Record, known: set[int]) -> Caption:
    try:
        caption_id = _caption_id(record, "sentid", known)
    except RecordError as error:
        return Caption(record.place, None, "", error)
    return record.caption("raw", record.values.get("raw"), caption_id)


# --- BLIP -------------------------------------------------------------------------------------------------------------


def _lacks_blip(document: Any) -> str:
    if not isinstance(document, list):
        return f"it holds a {type(document).__name__}, not a list"
    return _lacks_keys(document[0], "[0]", "image", "caption") if document else ""


def _blip(path: Path, document: Any, hint: str) -> Iterator[Entry]:
    """Yield an entry for each record, with one caption in the training file, and a list in those of val and test.

    Where the last digits of two names are the same, as hashes in place of COCO's names have them, or a name has none,
    every id is a hash of the whole name.
    """
    hashed = not _digits_are_ids(records(path, document, "", hint))
    for record in records(path, document, "", hint):
        try:
            name, value = record.text("image"), record.values.get("caption")
            texts = value if isinstance(value, list) else [value]
            image_id = _blip_id(record, name, hashed=hashed)
            yield Entry(
                tuple(record.caption("caption", each, None) for each in texts), record.place, image_id, None, name
            )
        except RecordError as error:
            yield unusable(error)


def _digits_are_ids(of_file: Iterator[Record]) -> bool:
    """Return whether the last digits of the names, or of texts as `image_id`, tell all pictures apart."""
    names = dict[int, str]()
    for record in of_file:
        name = record.values.get("image")
        if not isinstance(name, str) or _has_own_id(record):
            continue
        number = _last_digits(record, name)
        if number is None or names.setdefault(number, name) != name:
            return False
    return True


def _has_own_id(record: Record) -> bool:
    return isinstance(record.values.get("image_id"), int)


def _blip_id(record: Record, name: str, *, hashed: bool) -> int:
    """Return 522418 for "coco_522418" or "val2014/COCO_val2014_000000522418.jpg", as BLIP's own code does."""
    if _has_own_id(record):
        return record.number("image_id")
    number = _last_digits(record, name)
    if number is None or hashed:
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1  # 63 bits
    return number


def _last_digits(record: Record, name: str) -> int | None:
    text = record.values.get("image_id", Path(name).stem)
    found = re.search(r"[0-9]{1,19}$", text) if isinstance(text, str) else None
    return None if found is None or re.search(r"[0-9]{20}$", str(text)) else whole_number(found[0])


DOCUMENTS = {
    "coco": Document(
        '{"images": [{"id", "file_name"}, …], "annotations": [{"id", "image_id", "caption"}, …]}', _lacks_coco, _coco
    ),
    "nocaps": Document("that of coco, with a domain in each of the images", _lacks_nocaps, _coco),
    "karpathy": Document(
        '{"images": [{"cocoid" or "imgid", "split", "filename", "sentences": [{"sentid", "raw"}, …]}, …]}',
        _lacks_karpathy,
        _karpathy,
    ),
    "blip": Document('[{"image", "caption": one or a list of them}, …]', _lacks_blip, _blip),
}
