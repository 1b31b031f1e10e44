"""Models as a card names them: a repository at its commit, a folder by its digest."""

import json
from pathlib import Path

from icsd.backends.model_folder import folder_digest, is_hub_id
from icsd.config.downloads import MARKER
from icsd.errors import ModelError
from icsd.export.text import as_code


def model_line(model: str) -> str:
    """Markdown that says which model it is, as exactly as is known; of a folder elsewhere its last name alone."""
    folder = Path(model)
    if (folder / MARKER).is_file():
        return "{} at commit {}".format(*map(as_code, _fetched(folder)))
    if folder.is_dir():
        return f"{as_code(shown_path(model))}, a folder whose files have the SHA-256 {as_code(folder_digest(folder))}"
    return f"{as_code(model)}, at a commit that the run does not name"


def shown_path(path: str) -> str:
    """A path as it may be published: where it leads out of the checkout, its last name alone."""
    outside = Path(path).is_absolute() or ".." in Path(path).parts
    return Path(path).name if outside else path


def hub_id(model: str) -> str | None:
    """The repository that a model is of, where it is one of the hub's."""
    if (Path(model) / MARKER).is_file():
        return _fetched(Path(model))[0]
    return model if is_hub_id(model) and not Path(model).is_dir() else None


def _fetched(folder: Path) -> tuple[str, str]:
    try:
        manifest = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return str(manifest["repo_id"]), str(manifest["revision"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        way_out = "delete the folder, and `snakemake downloads` fetches it anew"
        raise ModelError(f"{folder / MARKER} is unreadable ({error}); {way_out}") from error
