"""Download of a model from the Hugging Face hub at one commit into a folder."""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from tqdm.std import tqdm

from icsd.config.downloads import MARKER, PICKLES
from icsd.core.download import disk_message
from icsd.core.errors import DownloadError
from icsd.core.files import file_sha256
from icsd.core.logs import Transfer
from icsd.core.text import with_shown_addresses
from icsd.models.model_folder import DownloadedFile, write_manifest

KEY_VARIABLE = "HF_TOKEN"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubModel:
    """A repository at a commit, and the patterns of the files to download."""

    repo_id: str
    revision: str
    files: Sequence[str]


def download_model(model: HubModel, folder: Path) -> None:
    """Download the model into `folder`, compare each file with the hub's checksum, and write a manifest.

    Files are downloaded to `.<name>.part` beside it; once complete, that folder replaces an earlier download.
    DownloadError for any failure, and if `folder` has files that are not from a download.
    """
    key = f"downloads.models.{folder.name}"
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).exists():
        problem = f"holds files, but no {MARKER}: it is no download of this rule"
        raise DownloadError(f"{folder} {problem}; move it away, or take {key} out of the config to use it as it is")
    part = folder.with_name(f".{folder.name}.part")
    with _as_messages(model, key, part):
        files = _wanted(model, key)
        downloaded = _download(model, files, part, folder.name)
    _leave_only({*downloaded}, part)
    write_manifest(part, model.repo_id, model.revision, downloaded)
    if folder.is_dir():
        shutil.rmtree(folder)
    part.replace(folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # huggingface_hub's metadata


def _wanted(model: HubModel, key: str) -> list[RepoFile]:
    """List the files that the patterns name, without pickles."""
    listing = HfApi(token=_token()).list_repo_tree(model.repo_id, recursive=True, revision=model.revision)
    all_files = {each.path: each for each in listing if isinstance(each, RepoFile)}
    named = [path for path in all_files if any(fnmatchcase(path, pattern) for pattern in model.files)]
    paths = [path for path in named if not path.lower().endswith(PICKLES)]
    if len(paths) < len(named):
        _log.warning("%s: %d pickles are left out: loading one runs the code in it", key, len(named) - len(paths))
    wants_weights = any(pattern.endswith(".safetensors") for pattern in model.files)
    if not paths or wants_weights and not any(path.endswith(".safetensors") for path in paths):
        problem = f"{model.repo_id} at {model.revision} has no {'safetensors' if paths else 'file'} of {key}.files"
        shown = ", ".join(sorted(all_files)[:8]) or "nothing"
        way_out = "name other files, or a commit that has safetensors, such as that of a conversion on the hub"
        raise DownloadError(f"{problem}; it has {shown}; {way_out}")
    return [all_files[path] for path in sorted(paths)]


def _download(model: HubModel, files: Sequence[RepoFile], part: Path, name: str) -> dict[str, DownloadedFile]:
    there = sum(file.size for file in files if _has_size(part / file.path, file.size))
    transfer = Transfer(name, there, sum(file.size for file in files))
    bar, downloaded = _bar(transfer), {}
    for file in files:
        hf_hub_download(
            model.repo_id,
            file.path,
            revision=model.revision,
            local_dir=part,
            token=_token(),
            tqdm_class=bar,
        )
        downloaded[file.path] = _checked(model, file, part / file.path)
    transfer.end()
    return downloaded


def _checked(model: HubModel, file: RepoFile, path: Path) -> DownloadedFile:
    """Compare a file with the hub's size and checksum; DownloadError, and the file is deleted, if they differ."""
    size, sha256 = path.stat().st_size, file_sha256(path)
    wanted, found = (file.lfs.sha256, sha256) if file.lfs else (file.blob_id, _git_sum(path, size))
    if size != file.size or wanted != found:
        path.unlink()
        problem = f"has {size:,} bytes and the checksum {found}, not the hub's {file.size:,} bytes and {wanted}"
        raise DownloadError(f"{model.repo_id}: {file.path} {problem}; the file is deleted; run snakemake again")
    return DownloadedFile(size, sha256)


def _git_sum(path: Path, size: int) -> str:
    """Return the git blob id of the file: the hub has no other checksum of small files."""
    return hashlib.sha1(b"blob %d\0" % size + path.read_bytes(), usedforsecurity=False).hexdigest()


def _leave_only(paths: set[str], folder: Path) -> None:
    """Delete the files that an earlier try downloaded from another commit."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] != ".cache" and name.as_posix() not in paths:
            path.unlink()


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _token() -> str | bool:
    """Return the token, read when it is used; False without one, so that none is taken from elsewhere."""
    return os.environ.get(KEY_VARIABLE, "").strip() or False


@contextmanager
def _as_messages(model: HubModel, key: str, part: Path) -> Iterator[None]:
    """Turn the errors of the library into a DownloadError."""
    name, again = f"{key}: {model.repo_id}", "finished files are kept; run snakemake again"
    token = f"{KEY_VARIABLE} is set" if _token() else f"the environment variable {KEY_VARIABLE} is not set"
    try:
        yield
    except GatedRepoError as error:
        problem = "is gated: accept its terms on its page of the hub, and give a token of that account"
        raise DownloadError(f"{name} {problem} ({token})") from error
    except RevisionNotFoundError as error:
        raise DownloadError(f"{name} has no commit {model.revision}; mend {key}.revision") from error
    except RepositoryNotFoundError as error:
        problem = f"is not on the hub, or is private ({token}); mend {key}.repo_id, or give a token that may read it"
        raise DownloadError(f"{name} {problem}") from error
    except OfflineModeIsEnabled as error:
        raise DownloadError(f"{name}: HF_HUB_OFFLINE is set; unset it where models are downloaded") from error
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise DownloadError(f"{name}: the hub refuses the request: {_first_line(error)}; {again}") from error
    except (ValueError, KeyError, TypeError) as error:  # such as a proxy's page
        problem = f"the answer is not from the hub ({type(error).__name__}: {_first_line(error)})"
        raise DownloadError(f"{name}: {problem}; check HF_ENDPOINT and the proxy") from error
    except OSError as error:
        if error.errno is not None:
            raise DownloadError(disk_message(part, error)) from error
        # an error of huggingface_hub itself, such as a size that differs
        raise DownloadError(f"{name}: {_first_line(error)}; {again}") from error


def _first_line(error: Exception) -> str:
    return with_shown_addresses(next(iter(str(error).splitlines()), type(error).__name__))


def _bar(transfer: Transfer) -> type[tqdm]:
    """Build a progress bar class for huggingface_hub that draws nothing and reports to `transfer`."""

    class Bar(tqdm):  # type: ignore[misc] # comes without types
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings | {"disable": True})

        def update(self, count: float | None = 1) -> None:
            transfer.add(int(count or 0))

        def update_transfer(self, count: float | None = 1) -> None:
            """Ignore the bytes that Xet transfers; `update` counts those of the file."""

        def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
            """Ignore the rate that Xet reports."""

    return Bar
