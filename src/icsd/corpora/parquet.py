"""Parquet with named columns, read batch by batch."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from icsd.config.corpus import Columns
from icsd.corpora.columns import entry_of, found_names
from icsd.corpora.entries import Entry, Record, unreadable
from icsd.errors import InputError

ROWS = 10_000
PICTURES = 64  # rows at once where they hold pictures


def read_parquet(path: Path, columns: Columns, hint: str) -> Iterator[Entry]:
    """An entry a row, of the columns that are wanted alone."""
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = found_names(path, file.schema_arrow.names, columns, hint)
            rows = PICTURES if names.image else ROWS
            for batch in file.iter_batches(rows, columns=names.all()):
                for values in batch.to_pylist():
                    number += 1
                    yield entry_of(Record(path, f"row {number:,}", values, hint), names)
    except UnicodeDecodeError as error:
        place = f"rows {number + 1:,} to {number + rows:,}"
        raise InputError(path, place, f"is not UTF-8 ({error})", "write the table anew from UTF-8") from error
    except pa.ArrowException as error:
        place, said = f"row {number + 1:,}", str(error).splitlines()[0]
        raise InputError(path, place, f"is no whole Parquet file ({said}); was it cut short?", hint) from error
    except OSError as error:
        if error.strerror is None:  # Arrow's own, of a file that is cut short or of another kind
            problem = f"is no whole Parquet file ({str(error).splitlines()[0]}); was it cut short?"
            raise InputError(path, "", problem, hint) from error
        raise unreadable(path, error) from error
