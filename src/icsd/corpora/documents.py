"""The layouts that are one JSON document, parsed whole: COCO, NoCaps, Karpathy's, BLIP's.

The largest of them that is published, dataset_coco.json with 616,767 captions, takes 560 MB of memory so.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from icsd.core.errors import InputError
from icsd.corpora.entries import LARGEST, Caption, Entry, Record, records, shown, unreadable

DOMAINS = ("in-domain", "near-domain", "out-domain")


class Document(NamedTuple):
    """A layout: what it looks like, what of it a parsed file lacks ("" for nothing), and its reader."""

    shape: str
    lacks: Callable[[Any], str]
    entries: Callable[[Path, Any, str], Iterator[Entry]]


def load(path: Path) -> Any:
    """The parsed file; InputError if it cannot be read, is not UTF-8 or not JSON."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # some editors begin a file with a mark
        return json.loads(text, object_hook=_without_tokens)
    except OSError as error:
        raise unreadable(path, error) from error
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
    record.pop("tokens", None)  # of Karpathy's files, half of the memory; nothing here reads them
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
    """The images in their order, each with its captions in theirs."""
    images, known = dict[int, Record](), set[int]()
    for record in records(path, document["images"], "images", hint):
        image_id = _new_id(record, "id", known)
        record.text("file_name")
        images[image_id] = record
    captions = _annotations(path, document, hint, images)
    for image_id, record in images.items():
        name, domain = record.text("file_name"), _domain(record)
        yield Entry(tuple(captions[image_id]), record.place, image_id, None, name, domain=domain)


def _annotations(path: Path, document: Any, hint: str, images: dict[int, Record]) -> defaultdict[int, list[Caption]]:
    """The captions of each image."""
    captions, known = defaultdict[int, list[Caption]](list), set[int]()
    for record in records(path, document["annotations"], "annotations", hint):
        caption_id, image_id = _new_id(record, "id", known), record.number("image_id")
        if image_id not in images:
            problem = f"annotation {caption_id} is of image {image_id}, which is not among the images"
            raise InputError(path, record.place, problem, "add the image or remove the annotation")
        captions[image_id].append(Caption(record.place, caption_id, record.text("caption")))
    return captions


def _new_id(record: Record, key: str, known: set[int]) -> int:
    """An id, which is added to those that are known; InputError where it was."""
    number = record.number(key)
    if number in known:
        raise InputError(record.path, record.place, f"doubles the id {number}", "keep one of the two")
    known.add(number)
    return number


def _domain(record: Record) -> str | None:
    """As NoCaps says it, "in-domain"; some copies of it say "in"."""
    if "domain" not in record.values:
        return None
    domain = record.text("domain").removesuffix("-domain") + "-domain"
    if domain not in DOMAINS:
        raise record.error(f"its domain is {shown(record.values['domain'])}, not one of {', '.join(DOMAINS)}")
    return domain


# --- Karpathy's -------------------------------------------------------------------------------------------------------


def _lacks_karpathy(document: Any) -> str:
    lacking = _lacks_lists(document, "images")
    if lacking or not document["images"]:
        return lacking
    return _lacks_keys(document["images"][0], "images[0]", "sentences", "split")


def _karpathy(path: Path, document: Any, hint: str) -> Iterator[Entry]:
    """The images in their order. COCO's id of an image is `cocoid`; Flickr30k's has `imgid` alone."""
    images, captions = set[int](), set[int]()
    for record in records(path, document["images"], "images", hint):
        image_id = _new_id(record, "cocoid" if "cocoid" in record.values else "imgid", images)
        said = tuple(
            Caption(sentence.place, _new_id(sentence, "sentid", captions), sentence.text("raw"))
            for sentence in record.records("sentences")
        )
        folder = f"{record.text('filepath')}/" if "filepath" in record.values else ""
        yield Entry(said, record.place, image_id, record.text("split"), folder + record.text("filename"))


# --- BLIP's -----------------------------------------------------------------------------------------------------------


def _lacks_blip(document: Any) -> str:
    if not isinstance(document, list):
        return f"it holds a {type(document).__name__}, not a list"
    return _lacks_keys(document[0], "[0]", "image", "caption") if document else ""


def _blip(path: Path, document: Any, hint: str) -> Iterator[Entry]:
    """An entry a record: in the file for training it has one caption, in those for val and test a list."""
    for record in records(path, document, "", hint):
        name, said = record.text("image"), record.values.get("caption")
        texts = said if isinstance(said, list) else [said]
        captions = tuple(Caption(record.place, None, record.sentence("caption", text)) for text in texts)
        yield Entry(captions, record.place, _blip_id(record, name), None, name)


def _blip_id(record: Record, name: str) -> int:
    """522418 of "coco_522418", or of "val2014/COCO_val2014_000000522418.jpg", as BLIP's own code reads it."""
    if isinstance(record.values.get("image_id"), int):
        return record.number("image_id")
    key = "image_id" if "image_id" in record.values else "image"
    found = re.search(r"(\d+)$", record.text(key) if key == "image_id" else Path(name).stem)
    if found is None or int(found[1][:20]) > LARGEST:
        raise record.error(f"its {key} {shown(record.values[key])} does not end in a whole number of 64 bits")
    return int(found[1])


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
