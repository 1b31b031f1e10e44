"""Logs of a job: progress and errors, in its log file and on the terminal."""

import logging
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from icsd.core.errors import ICSDError
from icsd.core.gpus import take_gpus
from icsd.core.text import printable

EVERY_S = 5.0  # between two lines of progress
INTERRUPTED = 130  # the status that shells give to a process that SIGINT ended
FORMAT = "%(asctime)s %(levelname)s %(message)s"
_log = logging.getLogger(__name__)
T = TypeVar("T")


@contextmanager
def job_log(path: Path | str, *, online: bool = False, gpus: int = 0) -> Iterator[None]:
    """Log to the file `path` and to stderr while inside; an error ends the process with status 1.

    An ICSDError is one message in both, and so is Ctrl-C. Of any other error the log gets the traceback, and the
    terminal its last line. Unless `online`, the process sends nothing to the Hugging Face hub: a job may run without a
    network. Where the jobs of a run share a machine's GPUs, it first leases `gpus` of them (icsd.core.gpus).
    """
    if not online:
        _go_offline()
    path = Path(path)
    file, terminal = _log_file(path), logging.StreamHandler(sys.stderr)
    file.setFormatter(_SafeFormatter(FORMAT))
    terminal.setFormatter(_TerminalFormatter(job_name(path)))
    # libraries log a dozen lines for each model and one for each request, and would hide the progress
    logging.basicConfig(level=logging.WARNING, handlers=[file, terminal], force=True)
    logging.getLogger("icsd").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    try:
        take_gpus(gpus)
        yield
    except ICSDError as error:
        _log.error("%s", error)
        raise SystemExit(1) from error
    except Exception as error:
        _log.error("%s: %s (a traceback is in %s)", type(error).__name__, error, path)
        with path.open("a", encoding="utf-8") as log:
            log.write(_indented(printable(traceback.format_exc().rstrip())) + "\n")
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        _log.error("interrupted: what is finished is kept; type the same command again to continue")
        raise SystemExit(INTERRUPTED) from error
    finally:
        logging.shutdown([lambda: file])


def _log_file(path: Path) -> logging.FileHandler:
    """Open a job's log; where that is not possible, end the process with one message."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return logging.FileHandler(path, mode="w", encoding="utf-8")
    except OSError as error:
        way_out = "make its folder writable, or link results to another place"
        print(f"[{job_name(path)}] ERROR: {path}: cannot be written ({error.strerror}); {way_out}", file=sys.stderr)
        raise SystemExit(1) from error


def _indented(text: str) -> str:
    """Indent all lines but the first: a text from outside must not pass for a line of the log."""
    return text.replace("\n", "\n    ")


def _go_offline() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"  # transformers, diffusers, datasets and open_clip read it too
    # a process that imported transformers before this has read it already
    if constants := sys.modules.get("huggingface_hub.constants"):
        vars(constants)["HF_HUB_OFFLINE"] = True


def job_name(path: Path) -> str:
    """The name of a job on the terminal: its log's path below the last folder `logs`, without the suffix."""
    parts = path.with_suffix("").parts
    below = parts[::-1].index("logs") if "logs" in parts else 1
    return "/".join(parts[-below:])


class _SafeFormatter(logging.Formatter):
    """Formats a line without control characters; the lines of a text from outside are indented."""

    def format(self, record: logging.LogRecord) -> str:
        """A line for the log."""
        return _indented(printable(super().format(record)))


class _TerminalFormatter(_SafeFormatter):
    """Formats a line as job and message; the level appears from warnings on, to stand out from the progress."""

    def __init__(self, job: str) -> None:
        super().__init__(f"[{job}] %(message)s")
        self._wrong = _SafeFormatter(f"[{job}] %(levelname)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """A line for the terminal."""
        return self._wrong.format(record) if record.levelno >= logging.WARNING else super().format(record)


class Progress:
    """Logs a line every few seconds: items done and in all, items per second, time left."""

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._start = self._last = time.monotonic()
        self._done = 0

    def step(self) -> None:
        """Count one item. A line covers the items before it: the first one may have waited for a model to load."""
        now = time.monotonic()
        if now - self._last >= EVERY_S and self._done:
            self._last = now
            self._report(now)
        self._done += 1

    def end(self) -> None:
        """Log the last line."""
        self._report(time.monotonic())

    def _report(self, now: float) -> None:
        _log.info("%s", progress_line(self._what, self._done, self._total, now - self._start))


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield the items and log their progress."""
    shown = Progress(total, what)
    for item in items:
        shown.step()
        yield item
    shown.end()


def progress_line(what: str, done: int, total: int, seconds: float) -> str:
    """Return a line such as "images: 120 of 1,000, 15.2 a second, 58 s left"."""
    rate = done / seconds if seconds > 0 else 0.0
    line = f"{what}: {done:,} of {total:,}, {rate:,.1f} a second"
    if done >= total:
        return f"{line}, {seconds:,.0f} s in all"
    return f"{line}, {(total - done) / rate:,.0f} s left" if rate else line


class Transfer:
    """Logs a line every few seconds of a download: bytes of all, rate, time left."""

    def __init__(self, what: str, done: int, total: int | None) -> None:
        """Start with `done` bytes of an earlier try; `total` is None if the server does not give it."""
        self._what, self._before, self._done, self._total = what, done, done, total
        self._start = self._last = time.monotonic()

    def add(self, count: int) -> None:
        """Count received bytes."""
        self._done += count
        now = time.monotonic()
        if now - self._last >= EVERY_S:
            self._last = now
            self._report(now)

    def end(self) -> None:
        """Log the last line."""
        self._report(time.monotonic())

    def _report(self, now: float) -> None:
        line = transfer_line(self._what, self._done, self._total, self._done - self._before, now - self._start)
        _log.info("%s", line)


def transfer_line(what: str, done: int, total: int | None, received: int, seconds: float) -> str:
    """Return a line such as "val2014.zip: 1.20 GB of 6.65 GB, 42.0 MB/s, 130 s left".

    `received` bytes arrived in those `seconds`.
    """
    rate = received / seconds if seconds > 0 else 0.0
    of_all = amount(done) if total is None else f"{amount(done)} of {amount(total)}"
    line = f"{what}: {of_all}, {rate / 1e6:,.1f} MB/s"
    return f"{line}, {(total - done) / rate:,.0f} s left" if total is not None and total > done and rate else line


def amount(count: int) -> str:
    """Return an amount such as "6.65 GB"."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:,.2f} {name}"
    return f"{count} bytes"
