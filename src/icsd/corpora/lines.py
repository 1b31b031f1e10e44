"""Readers of the layouts that are read line by line: plain text, CC3M, CSV, TSV, JSON Lines."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from icsd.config.corpus import Columns
from icsd.core.errors import InputError
from icsd.corpora.columns import entry_of, find_columns
from icsd.corpora.entries import Caption, Entry, Record, unreadable_file

MAX_LINE_BYTES = 2**22  # a file without line ends must not fill the memory


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
        caption = line.rstrip("\r\n")
        if not caption.strip():
            raise InputError(path, f"line {number:,}", "holds no caption", "remove the line")
        place = f"line {number:,}"
        yield Entry((Caption(place, None, caption),), place)


def read_cc3m(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    """Read a caption, a tab and the picture's address from each line; no quotes, no header."""
    for number, line in text_lines(path):
        place, fields = f"line {number:,}", line.rstrip("\r\n").split("\t")
        if len(fields) != 2:
            raise InputError(path, place, f"has {len(fields)} fields, not 2", hint)
        record = Record(path, place, {"caption": fields[0]}, hint)
        yield Entry((Caption(place, None, record.text("caption")),), place)


def read_csv(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    """Read a comma-separated table with a header."""
    return _separated(path, columns, hint, ",")


def read_tsv(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    """Read a tab-separated table with a header."""
    return _separated(path, columns, hint, "\t")


def _separated(path: Path, columns: Columns, hint: str, delimiter: str) -> Iterator[Entry]:
    rows = csv.reader((line for _, line in text_lines(path)), delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        names = find_columns(path, header, columns, hint)
        for row in rows:
            place = f"line {rows.line_num:,}"
            if len(row) != len(header):
                problem = f"has {len(row)} fields, where the header has {len(header)}"
                raise InputError(path, place, problem, "mend the line; a caption with the separator in it needs quotes")
            yield entry_of(Record(path, place, dict(zip(header, row, strict=True)), hint), names)
    except csv.Error as error:
        raise InputError(path, f"line {rows.line_num:,}", f"cannot be split into fields ({error})", hint) from error


def read_jsonl(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    """Read an object from each line; all have the keys of the first."""
    names = None
    for number, line in text_lines(path):
        place = f"line {number:,}"
        record = Record(path, place, _object(path, place, line, hint), hint)
        names = names or find_columns(path, list(record.values), columns, hint)
        yield entry_of(record, names)


def _object(path: Path, place: str, line: str, hint: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(path, place, f"is not JSON ({error})", hint) from error
    if not isinstance(value, dict):
        raise InputError(path, place, "is no object", hint)
    return value
