"""What a fetched model's folder should hold: a manifest that is written last, so that a part is never taken for all."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from icsd.config.downloads import MARKER
from icsd.errors import ModelError
from icsd.files import atomic_path

WAY_OUT = "delete the folder, and `snakemake downloads` fetches it anew"


@dataclass(frozen=True)
class FetchedFile:
    """A file as it was fetched."""

    size: int
    sha256: str


def write_manifest(folder: Path, repo_id: str, revision: str, files: Mapping[str, FetchedFile]) -> None:
    """Say in `folder` what it is. The same model gives the same bytes, so that fetching it again reruns nothing."""
    listed = {path: asdict(file) for path, file in sorted(files.items())}
    manifest = {"repo_id": repo_id, "revision": revision, "files": listed}
    with atomic_path(folder / MARKER) as unfinished:
        unfinished.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def check_fetched(setting: str, folder: Path) -> None:
    """ModelError, naming the config's `setting`, if the folder's manifest names files that are not there as fetched.

    Sizes are compared, not sums: those were when the files came. A folder without a manifest is the user's own.
    """
    path = folder / MARKER
    if not path.exists():
        return
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        sizes = {name: file["size"] for name, file in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{setting}={folder}: {path} is unreadable ({error}); {WAY_OUT}") from error
    for name, size in sizes.items():
        file = folder / name
        found = file.stat().st_size if file.is_file() else None
        if found is None:
            raise ModelError(f"{setting}={folder}: {name} was fetched, and is missing; {WAY_OUT}")
        if found != size:
            raise ModelError(f"{setting}={folder}: {name} has {found:,} bytes, not the {size:,} fetched; {WAY_OUT}")
