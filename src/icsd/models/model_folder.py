"""Model folders: find one, check its download, name its kind, hash its files.

A model in the config is a folder or the id of a repository of the Hugging Face hub that was downloaded before.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from icsd.config.downloads import MARKER, MODELS
from icsd.core.errors import ModelError
from icsd.core.files import atomic_path, file_sha256
from icsd.models.model_code import INDEX, check_no_code

WAY_OUT = "delete the folder, and `snakemake downloads` downloads it again"


@dataclass(frozen=True)
class DownloadedFile:
    """Size and SHA-256 of a file after its download."""

    size: int
    sha256: str


def write_manifest(folder: Path, repo_id: str, revision: str, files: Mapping[str, DownloadedFile]) -> None:
    """Write the manifest of a download; its bytes depend on the model alone, so a second download reruns nothing."""
    listed = {path: asdict(file) for path, file in sorted(files.items())}
    manifest = {"repo_id": repo_id, "revision": revision, "files": listed}
    with atomic_path(folder / MARKER) as unfinished:
        unfinished.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def check_download(setting: str, folder: Path) -> None:
    """Raise ModelError, naming the config's `setting`, if files of the manifest are missing or of another size.

    The download has compared the checksums. A folder without a manifest is the user's own.
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
            raise ModelError(f"{setting}={folder}: {name} was downloaded, and is missing; {WAY_OUT}")
        if found != size:
            raise ModelError(f"{setting}={folder}: {name} has {found:,} bytes, not the {size:,} downloaded; {WAY_OUT}")


# files to download of a pipeline: no pickles, no second copy in half precision
PIPELINE_FILES = (
    INDEX,
    "*/*.json",
    "*/*.txt",
    "*/*.model",
    "*/model.safetensors",
    "*/model-*.safetensors",
    "*/diffusion_pytorch_model.safetensors",
    "*/diffusion_pytorch_model-*.safetensors",
)
# open_clip's folders on the hub also have a config.json of transformers, so theirs comes first
_KINDS = {
    INDEX: "a pipeline of diffusers",
    "open_clip_config.json": "a model of open_clip",
    "config.json": "a model of transformers",
}
# each set is a whole vocabulary
_VOCABULARIES = (
    {"tokenizer.json"}, {"vocab.txt"}, {"vocab.json", "merges.txt"}, {"tokenizer.model"}, {"spiece.model"},
    {"sentencepiece.bpe.model"},
)  # fmt: skip
TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "s*.model")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def model_folder(setting: str, model: str, files: Sequence[str]) -> Path:
    """Return the folder `model`, or the copy of the hub's repository of that id in huggingface_hub's cache.

    Only `files`, patterns of paths, are looked up in the cache. Nothing is downloaded, because a job may run without
    network. ModelError, naming the config's `setting`, if there is neither, if the download is incomplete, or if the
    folder's JSON names code.
    """
    folder = _found_folder(setting, model, files)
    check_no_code(f"{setting}={model}", folder)
    return folder


def _found_folder(setting: str, model: str, files: Sequence[str]) -> Path:
    if Path(model).is_dir():
        check_download(setting, Path(model))
        return Path(model)
    if not is_hub_id(model):
        way_out = "give a model folder or an id of the hub such as CompVis/stable-diffusion-v1-4"
        raise ModelError(f"{setting}={model}: no such folder; {way_out}, in config/config.yaml")
    from huggingface_hub import snapshot_download

    # the cache is outside data: any error becomes a message with the name and a hint
    try:
        return Path(snapshot_download(model, allow_patterns=list(files), local_files_only=True))
    except Exception as error:
        raise ModelError(not_downloaded(setting, model, model)) from error


def not_downloaded(setting: str, model: str, repo_id: str) -> str:
    """Return the error message for a `model` that is on the hub as `repo_id` but not on this machine."""
    name = repo_id.rpartition("/")[2]
    entry = f"{name}: {{repo_id: {repo_id}, revision: <its commit's 40 digits>}}"
    return (
        f"{setting}={model}: no such folder, {repo_id} of the hub was not downloaded, and jobs use no network; write "
        f"`{entry}` below downloads.models in the config, and {MODELS}{name} as {setting}: then a rule downloads it "
        "(docs/guide/downloads.md)"
    )


def is_hub_id(model: str) -> bool:
    """Return whether the name has the form of a hub id."""
    return _HUB_ID.fullmatch(model) is not None


def folder_kind(folder: Path) -> str:
    """Return the kind of model in the folder, in words; empty if it has no known file."""
    for name, kind in _KINDS.items():
        if (folder / name).is_file():
            return kind
    return ""


def read_index(setting: str, folder: Path) -> dict[str, Any]:
    """Read the index of a pipeline's parts; empty if it is no object. ModelError, naming the `setting`, for no JSON."""
    path, way_out = folder / INDEX, "give a folder of a text-to-image pipeline of diffusers, in config/config.yaml"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{setting}: diffusers cannot load {folder}: it holds no {INDEX}; {way_out}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{setting}: {path} is no JSON: {error}; {way_out}") from error
    return index if isinstance(index, dict) else {}


def has_vocabulary(folder: Path, kind: str = "") -> bool:
    """Return whether the folder has a vocabulary for the tokenizer's class `kind`; that of ByT5 are the bytes.

    Without one, transformers builds an empty tokenizer.
    """
    return kind.startswith("ByT5") or any(all((folder / name).is_file() for name in names) for names in _VOCABULARIES)


def folder_digest(
    folder: Path,
    without: Sequence[str] = (),
    suffixes: Sequence[str] = (".json", ".txt", ".safetensors"),
    sha256: Callable[[Path], str] = file_sha256,
) -> str:
    """Hash the names and contents of a model's files with SHA-256, except the folders `without`.

    The manifest of a download is left out, so that the hash does not depend on where a model comes from.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if name.parts[0] not in {*without, ".cache", MARKER} and path.suffix in suffixes:
            digest.update(f"{name.as_posix()} {sha256(path)}\n".encode())
    return digest.hexdigest()
