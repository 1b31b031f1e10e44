"""What a job tells: progress and errors, in its log file and on the terminal."""

import logging
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from icsd.errors import ICSDError

EVERY_S = 5.0  # between two lines of progress
FORMAT = "%(asctime)s %(levelname)s %(message)s"
_log = logging.getLogger(__name__)
T = TypeVar("T")


@contextmanager
def job_log(path: Path | str) -> Iterator[None]:
    """Log to the file `path` and to stderr while inside; an error ends the process with status 1.

    An ICSDError is its one message. Of any other error the log holds the traceback, the terminal its last line.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    job = f"{path.parent.name}/{path.stem}" if path.parent.name != "logs" else path.stem
    file, terminal = logging.FileHandler(path, mode="w", encoding="utf-8"), logging.StreamHandler(sys.stderr)
    file.setFormatter(logging.Formatter(FORMAT))
    terminal.setFormatter(logging.Formatter(f"[{job}] %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[file, terminal], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a request drowns the progress
    logging.captureWarnings(capture=True)
    warnings.simplefilter("default")
    try:
        yield
    except ICSDError as error:
        _log.error("%s", error)
        raise SystemExit(1) from error
    except Exception as error:
        _log.error("%s: %s (a traceback is in %s)", type(error).__name__, error, path)
        file.stream.write(traceback.format_exc())
        raise SystemExit(1) from error
    finally:
        logging.shutdown([lambda: file])


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items, with a line in the log every few seconds: how many of how many, items a second, time left."""
    start = last = time.monotonic()
    done = 0
    for done, item in enumerate(items, start=1):  # noqa: B007 - the count is wanted after the loop
        yield item
        now = time.monotonic()
        if now - last >= EVERY_S and done < total:
            last = now
            _log.info("%s", progress_line(what, done, total, now - start))
    _log.info("%s", progress_line(what, done, total, time.monotonic() - start))


def progress_line(what: str, done: int, total: int, seconds: float) -> str:
    """Such as "images: 120 of 1,000, 15.2 a second, 58 s left"."""
    rate = done / seconds if seconds > 0 else 0.0
    line = f"{what}: {done:,} of {total:,}, {rate:,.1f} a second"
    if done >= total:
        return f"{line}, {seconds:,.0f} s in all"
    return f"{line}, {(total - done) / rate:,.0f} s left" if rate else line
