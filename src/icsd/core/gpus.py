"""The GPUs of one machine, each leased to one job at a time.

A lease is a file lock of the kernel, which releases it when the process ends, however it ends. The files are named
after the GPUs and lie in one folder for all runs and users of the machine. Only jobs of a local run lease: its
Snakemake writes the GPUs into the environment (icsd.workflow.gpus). A cluster's scheduler assigns GPUs itself.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from icsd.core.errors import InputError

if TYPE_CHECKING:
    from filelock import BaseFileLock

POOL = "ICSD_GPUS"  # in the environment of a local run's jobs
FOLDER = "ICSD_GPU_LOCKS"  # in the environment of users: the folder of the locks
VISIBLE = "CUDA_VISIBLE_DEVICES"
# all users need the same one, and TMPDIR may be a job's own
DEFAULT_FOLDER = "/tmp/icsd-gpus"  # noqa: S108
POLL_S = 1.0
_log = logging.getLogger(__name__)
_held = list["BaseFileLock"]()  # until the process ends


def pool_text(pool: Mapping[str, str]) -> str:
    """Return the pool as text for the environment: the id of each GPU in CUDA_VISIBLE_DEVICES, and its lock's name."""
    return ",".join(f"{gpu}={name}" for gpu, name in pool.items())


def take_gpus(count: int) -> None:
    """Lease `count` GPUs of the run's pool until this process ends, and hide all others from it.

    Without a pool this does nothing. It waits while other jobs have the GPUs. Call it before torch is imported.
    InputError if the locks' folder cannot be used.
    """
    text = os.environ.pop(POOL, "")  # what this process starts shares its GPUs
    if not text:
        return
    pool = dict(entry.split("=", 1) for entry in text.split(","))
    leased = _lease(pool, min(count, len(pool))) if count else []
    os.environ[VISIBLE] = ",".join(leased)
    if leased:
        _log.info("%s=%s", VISIBLE, os.environ[VISIBLE])


def _lease(pool: Mapping[str, str], count: int) -> list[str]:
    """Wait for `count` GPUs of the pool.

    One waiting job at a time has the turn, so that those that need one GPU do not overtake for ever one that needs all.
    """
    turn = _lock(f"{next(iter(pool.values()))}.turn")
    leased = _try_lease(pool, count, turn)
    if not leased:
        _log.info("waiting for %d of %d GPUs: other jobs of this machine have them", count, len(pool))
    while not leased:
        time.sleep(POLL_S)
        leased = _try_lease(pool, count, turn)
    turn.release()
    return leased


def _try_lease(pool: Mapping[str, str], count: int, turn: "BaseFileLock") -> list[str]:
    """Take the turn, or keep it, and lease `count` GPUs; return none, and hold none, if fewer are free."""
    with _readable_by_all(turn.lock_file):
        if not (turn.is_locked or _is_acquired(turn)):
            return []
        locks = dict[str, "BaseFileLock"]()
        for gpu, name in pool.items():
            if len(locks) < count and _is_acquired(lock := _lock(name)):
                locks[gpu] = lock
    if len(locks) < count:
        for lock in locks.values():
            lock.release()
        return []
    _held.extend(locks.values())
    return list(locks)


def _lock(name: str) -> "BaseFileLock":
    """Return the lock of that name. A process that becomes another program, as torchrun does, keeps it."""
    from filelock import FileLock  # late: only jobs that share GPUs need it

    folder = Path(os.environ.get(FOLDER) or DEFAULT_FOLDER)
    with _readable_by_all(folder):
        folder.mkdir(mode=0o777, exist_ok=True)
    return FileLock(
        folder / f"{quote(name, safe='')}.lock",
        mode=0o666,
        fallback_to_soft=False,
        on_acquired=lambda descriptor: os.set_inheritable(descriptor, True),
    )


def _is_acquired(lock: "BaseFileLock") -> bool:
    from filelock import Timeout

    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


@contextmanager
def _readable_by_all(path: Path | str) -> Iterator[None]:
    """Create files that all users can open; InputError naming `path` if that is not possible."""
    mask = os.umask(0)
    try:
        yield
    except OSError as error:
        hint = f"set {FOLDER} to a folder on a local disk that all users of this machine can write to"
        raise InputError(path, "", f"the locks of GPUs cannot be kept there ({error.strerror})", hint) from error
    finally:
        os.umask(mask)
