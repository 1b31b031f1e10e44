"""Errors that a user can mend: each is one message that names the place, the value and the way out."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

AGAIN = "delete it and run snakemake again"  # the way out of an InputError in a file that a job has written


class ICSDError(Exception):
    """The root of all errors that are shown as a message, without a traceback."""


class ConfigError(ICSDError):
    """A config value that is unknown, missing or out of range."""


class ModelError(ICSDError):
    """A model that is missing, incomplete or of another kind."""


class DownloadError(ICSDError):
    """A file or a model that cannot be downloaded."""


class StoppedError(ICSDError):
    """A job that was interrupted and has saved its state; the next run continues from it."""


class ClusterError(ICSDError):
    """A cluster that does not answer, or that cannot fulfil a request."""


class InputError(ICSDError):
    """A file that cannot be used: the place in it, the problem and a way out."""

    def __init__(self, path: Path | str, place: str, problem: str, hint: str) -> None:
        super().__init__(path, place, problem, hint)
        self.path, self.place, self.problem, self.hint = Path(path), place, problem, hint

    def __str__(self) -> str:
        where = f"{self.path}, {self.place}" if self.place else f"{self.path}"
        return f"{where}: {self.problem}; {self.hint}"


class TooManyDroppedError(ICSDError):
    """A stage that dropped a larger share of its items than its max_drop_share allows."""


def check_drop_share(
    dropped: Mapping[str, str], total: int, *, items: str, setting: str, limit: float, hint: str
) -> None:
    """Raise TooManyDroppedError if more than the share `limit` of `total` items were dropped.

    `dropped` maps an item to its reason, "code: detail". `items` names them in the message, `setting` is the config
    key of the limit, and `hint` is a way out besides a higher limit.
    """
    if len(dropped) <= limit * total:
        return
    counts = Counter(reason.partition(":")[0] for reason in dropped.values())
    commonest = ", ".join(f"{code} ({count:,})" for code, count in counts.most_common(3))
    item, reason = next(iter(dropped.items()))
    raise TooManyDroppedError(
        f"{len(dropped):,} of {total:,} {items} were dropped, more than {setting}={limit} allows. The commonest "
        f"reasons: {commonest}; for example {item}: {reason}. {hint}, or raise the share in config/config.yaml"
    )


class DiskFullError(ICSDError):
    """A file that could not be written for lack of room."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = Path(path), reason

    def __str__(self) -> str:
        problem = f"there is no room for it ({self.reason}); nothing is half-written, and what was finished is kept"
        return f"{self.path}: {problem}; free some room there and run snakemake again"
