"""Readers of the layouts that are read line by line: plain text, Flickr, CC3M, CSV, TSV, JSON Lines."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from icsd.config.corpus import Columns
from icsd.core.errors import InputError
from icsd.corpora.columns import entry_of, find_columns
from icsd.corpora.entries import Caption, Entry, Record, RecordError, unreadable_file, unusable

MAX_LINE_BYTES = 2**22  # a file without line ends must not fill the memory
FLICKR = re.compile(r"(?P<name>[^\t]+\.\w+)#\d+\t(?P<caption>[^\t\r\n]*)")


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line's number, from 1, and its text with the line end; InputError for a line that is not UTF-8."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if len(line) == MAX_LINE_BYTES:
                    problem = f"is longer than {MAX_LINE_BYTES:,} bytes"
                    raise InputError(path, f"line {number:,}", problem, "give a text file, or set its layout")
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except OSError as error:
        raise unreadable_file(path, error) from error
    except UnicodeDecodeError as error:
        place = f"line {number:,}, byte {error.start:,}"
        raise InputError(path, place, "is not UTF-8", "convert the file to UTF-8") from error


def read_text(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    """Read a caption from each line."""
    for number, line in text_lines(path):
        caption, place = line.rstrip("\r\n"), f"line {number:,}"
        empty = None if caption.strip() else RecordError(path, place, "holds no caption", "remove the line")
        yield Entry((Caption(place, None, caption, empty),), place)


def read_cc3m(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    """Read a caption, a tab and the picture's address from each line; no quotes, no header."""
    for number, line in text_lines(path):
        place, fields = f"line {number:,}", line.rstrip("\r\n").split("\t")
        record = Record(path, place, {}, hint)
        if len(fields) == 2:
            yield Entry((record.caption("caption", fields[0], None),), place)
        else:
            yield unusable(record.error(f"has {len(fields)} fields, not 2"))


def read_flickr(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    """Read a picture's file name, the number of its caption, a tab and the caption from each line; no header."""
    for number, line in text_lines(path):
        record = Record(path, f"line {number:,}", {}, hint)
        found = FLICKR.fullmatch(line.rstrip("\r\n"))
        if found is None:
            yield unusable(record.error("is no file name, #, number, tab and caption"))
        else:
            yield Entry((record.caption("caption", found["caption"], None),), record.place, name=found["name"])


def read_csv(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    """Read a comma-separated table with a header."""
    return _separated(path, columns, hint, ",")


def read_tsv(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    """Read a tab-separated table with a header."""
    return _separated(path, columns, hint, "\t")


def _separated(path: Path, columns: Columns, hint: str, delimiter: str) -> Iterator[Entry]:
    csv.field_size_limit(MAX_LINE_BYTES)  # 128 kB otherwise
    rows = _rows(path, csv.reader((line for _, line in text_lines(path)), delimiter=delimiter, strict=True), hint)
    _, header = next(rows, ("", []))
    if isinstance(header, RecordError):
        raise header
    names = find_columns(path, header, columns, hint)
    for place, fields in rows:
        if isinstance(fields, RecordError):
            yield unusable(fields)
        else:
            yield entry_of(Record(path, place, dict(zip(header, fields, strict=True)), hint), names)


def _rows(path: Path, rows: Any, hint: str) -> Iterator[tuple[str, list[str] | RecordError]]:
    """Yield the place and the fields, or the error, of each row of a csv.reader; the first is the header.

    InputError for an error of several lines: a quote that is not closed may have swallowed many captions.
    """
    width, start = 0, 1
    while True:
        fields, problem, mend = [], "", hint
        try:
            fields = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"cannot be split into fields ({error})"
        width = width or len(fields)
        if not problem and fields and len(fields) != width:
            problem = f"has {len(fields)} fields, where the header has {width}"
            mend = "mend the line; a caption with the separator in it needs quotes"
        first, last, start = start, rows.line_num, rows.line_num + 1
        place = f"line {last:,}"
        if problem and last > first:
            mend = "mend the quotes: one that is not closed joins lines"
            raise InputError(path, f"lines {first:,} to {last:,}", problem, mend)
        if problem:
            yield place, RecordError(path, place, problem, mend)
        elif fields:
            yield place, fields


def read_jsonl(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    """Read an object from each line that is not blank; all have the keys of the first."""
    names = None
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            record = _record(path, f"line {number:,}", line, hint)
        except RecordError as error:
            yield unusable(error)
            continue
        names = names or find_columns(path, list(record.values), columns, hint)
        yield entry_of(record, names)


def _record(path: Path, place: str, line: str, hint: str) -> Record:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError(path, place, f"is not JSON ({error})", hint) from error
    if not isinstance(value, dict):
        raise RecordError(path, place, "is no object", hint)
    return Record(path, place, value, hint)
