"""What a job tells: progress and errors, in its log file and on the terminal."""

import logging
import sys
import time
import traceback
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
    file, terminal = logging.FileHandler(path, mode="w", encoding="utf-8"), logging.StreamHandler(sys.stderr)
    file.setFormatter(logging.Formatter(FORMAT))
    terminal.setFormatter(_TerminalFormatter(job_name(path)))
    # libraries say a dozen lines a model and a line a request: the progress would drown
    logging.basicConfig(level=logging.WARNING, handlers=[file, terminal], force=True)
    logging.getLogger("icsd").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    try:
        yield
    except ICSDError as error:
        _log.error("%s", error)
        raise SystemExit(1) from error
    except Exception as error:
        _log.error("%s: %s (a traceback is in %s)", type(error).__name__, error, path)
        with path.open("a", encoding="utf-8") as log:
            log.write(traceback.format_exc())
        raise SystemExit(1) from error
    finally:
        logging.shutdown([lambda: file])


def job_name(path: Path) -> str:
    """What a job is called on the terminal: its log's path below the last folder `logs`, without the suffix."""
    parts = path.with_suffix("").parts
    below = parts[::-1].index("logs") if "logs" in parts else 1
    return "/".join(parts[-below:])


class _TerminalFormatter(logging.Formatter):
    """The job and the message; the level only where something is wrong, so that it stands out from the progress."""

    def __init__(self, job: str) -> None:
        super().__init__(f"[{job}] %(message)s")
        self._wrong = logging.Formatter(f"[{job}] %(levelname)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """A line for the terminal."""
        return self._wrong.format(record) if record.levelno >= logging.WARNING else super().format(record)


class Progress:
    """A line in the log every few seconds: how many of how many, items a second, time left."""

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._start = self._last = time.monotonic()
        self._done = 0

    def step(self) -> None:
        """One item more is done. Those done before are told first: the first may have waited for a model to load."""
        now = time.monotonic()
        if now - self._last >= EVERY_S and self._done:
            self._last = now
            self._tell(now)
        self._done += 1

    def end(self) -> None:
        """The last line."""
        self._tell(time.monotonic())

    def _tell(self, now: float) -> None:
        _log.info("%s", progress_line(self._what, self._done, self._total, now - self._start))


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items, with the lines of Progress."""
    told = Progress(total, what)
    for item in items:
        told.step()
        yield item
    told.end()


def progress_line(what: str, done: int, total: int, seconds: float) -> str:
    """Such as "images: 120 of 1,000, 15.2 a second, 58 s left"."""
    rate = done / seconds if seconds > 0 else 0.0
    line = f"{what}: {done:,} of {total:,}, {rate:,.1f} a second"
    if done >= total:
        return f"{line}, {seconds:,.0f} s in all"
    return f"{line}, {(total - done) / rate:,.0f} s left" if rate else line
