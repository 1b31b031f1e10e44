"""The layouts by name, and detection of a file's layout."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

from icsd.config.corpus import Columns, LayoutName
from icsd.core.errors import InputError
from icsd.corpora.documents import DOCUMENTS, load
from icsd.corpora.entries import Entry
from icsd.corpora.lines import FLICKR, read_cc3m, read_csv, read_flickr, read_jsonl, read_text, read_tsv, text_lines

Reader = Callable[[Path, Columns, str], Iterator[Entry]]
AUTO = "auto"
NAMES: tuple[str, ...] = get_args(LayoutName)


def _read_parquet(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    from icsd.corpora.columns import read_parquet  # imported late: no other layout needs pyarrow

    return read_parquet(path, columns, hint)


STREAMED: dict[str, tuple[str, Reader]] = {
    "text": ("a caption a line", read_text),
    "flickr": ("a file name, #, a number, a tab and a caption a line", read_flickr),
    "cc3m": ("a caption, a tab and an address a line, no header", read_cc3m),
    "csv": ("a header such as image,caption, then comma-separated rows", read_csv),
    "tsv": ("a header such as image, a tab and caption, then tab-separated rows", read_tsv),
    "jsonl": ("an object a line", read_jsonl),
    "parquet": ("a Parquet table with a column of captions", _read_parquet),
}
BY_SUFFIX = {".csv": "csv", ".token": "flickr", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
OF_CAPTIONS = frozenset({"caption", "captions", "comment"})  # the last one of copies of Flickr30k
HEADER = OF_CAPTIONS | {"image", "image_name", "file_name", "image_id", "caption_id", "split", "id", "comment_number"}
DETECTED = ("coco", "karpathy", "blip")  # nocaps is read as coco, with its domains


def read_entries(path: Path, layout: str, columns: Columns) -> Iterator[Entry]:
    """Yield the entries of a file; InputError if it does not have the layout, or none of them for `auto`."""
    if path.is_dir():
        hint = "name the file with the captions; a folder of images is named in pictures.real.images"
        raise InputError(path, "", "is a folder", hint)
    layout = _by_suffix(path, columns) if layout == AUTO else layout
    if layout in STREAMED:
        shape, read = STREAMED[layout]
        return read(path, columns, _hint(layout, shape))
    return _read_document(path, layout)


def _by_suffix(path: Path, columns: Columns) -> str:
    """Return the layout for a file's suffix, auto for several; InputError for an unknown suffix."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        return AUTO
    if suffix == ".tsv":
        return "cc3m" if _begins_as_cc3m(path) else "tsv"
    if suffix == ".txt":
        return _of_text(path, columns)
    if suffix not in BY_SUFFIX:
        known = ", ".join([".json", ".tsv", ".txt", *BY_SUFFIX])
        problem = f"its suffix {suffix!r} is not of a known layout (known: {known})"
        raise InputError(path, "", problem, f"set its layout to one of {', '.join(NAMES[1:])}")
    return BY_SUFFIX[suffix]


def _of_text(path: Path, columns: Columns) -> str:
    """Return text, or the layout of a table with this suffix, as Flickr8k is published: its first line tells.

    InputError for a table with bars between its fields, as some copies of Flickr30k have them.
    """
    line = _first_line(path)
    if FLICKR.fullmatch(line):
        return "flickr"
    named = {each for each in columns.model_dump().values() if each}
    for layout, separator in (("csv", ","), ("tsv", "\t"), ("", "|")):
        fields = {each.strip('" ') for each in line.split(separator)}
        if len(fields) == 1 or not (OF_CAPTIONS | {columns.caption}) & fields or not fields <= HEADER | named:
            continue
        if not layout:
            hint = "write it as CSV, or set its layout to text if each line is a caption"
            raise InputError(path, "line 1", "is the header of a table with | between its fields", hint)
        return layout
    return "text"


def _begins_as_cc3m(path: Path) -> bool:
    fields = _first_line(path).split("\t")
    return len(fields) == 2 and fields[1].startswith(("http://", "https://"))


def _first_line(path: Path) -> str:
    return next(text_lines(path), (1, ""))[1].rstrip("\r\n")


def _read_document(path: Path, layout: str) -> Iterator[Entry]:
    document = load(path)
    tried = DETECTED if layout == AUTO else (layout,)
    lacking = {name: DOCUMENTS[name].lacks(document) for name in tried}
    fitting = next((name for name, lack in lacking.items() if not lack), None)
    if fitting is None:
        problems = "; ".join(f"read as {name}, {lack}" for name, lack in lacking.items())
        hint = f"give a file of a layout of JSON ({', '.join(DOCUMENTS)}), or set its layout: {', '.join(NAMES)}"
        raise InputError(path, "", f"is not of the layout {layout}: {problems}" if layout != AUTO else problems, hint)
    return DOCUMENTS[fitting].entries(path, document, _hint(fitting, DOCUMENTS[fitting].shape))


def _hint(layout: str, shape: str) -> str:
    return f"the layout {layout} is {shape}; give such a file or set another layout: {', '.join(NAMES)}"
