"""What a user can mend: each error is one message that names the place, the value and the way out."""

from pathlib import Path


class ICSDError(Exception):
    """The root of all errors that are shown as a message, without a traceback."""


class ConfigError(ICSDError):
    """A config value that is unknown, missing or out of its limits."""


class ModelError(ICSDError):
    """A model that is missing, incomplete or of another kind."""


class DownloadError(ICSDError):
    """A file or a model that cannot be fetched."""


class InputError(ICSDError):
    """A file that cannot be used: where, what is wrong, and what to do."""

    def __init__(self, path: Path | str, place: str, problem: str, hint: str) -> None:
        super().__init__(path, place, problem, hint)
        self.path, self.place, self.problem, self.hint = Path(path), place, problem, hint

    def __str__(self) -> str:
        where = f"{self.path}, {self.place}" if self.place else f"{self.path}"
        return f"{where}: {self.problem}; {self.hint}"
