"""Where a model's files lie: a folder, or a repository of the Hugging Face hub that was fetched."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from icsd.config.downloads import MARKER, MODELS
from icsd.core.errors import ModelError
from icsd.core.files import atomic_path, file_sha256

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


# what a pipeline of the hub is fetched for: no pickles, no half-precision doubles
PIPELINE_FILES = (
    "model_index.json",
    "*/*.json",
    "*/*.txt",
    "*/*.model",
    "*/model.safetensors",
    "*/model-*.safetensors",
    "*/diffusion_pytorch_model.safetensors",
    "*/diffusion_pytorch_model-*.safetensors",
)
# open_clip's folders of the hub hold a config.json of transformers too: theirs comes first
_KINDS = {
    "model_index.json": "a pipeline of diffusers",
    "open_clip_config.json": "a model of open_clip",
    "config.json": "a model of transformers",
}
# each is a whole vocabulary, but vocab.json, which has no use without merges.txt
_VOCABULARIES = (
    {"tokenizer.json"}, {"vocab.txt"}, {"vocab.json", "merges.txt"}, {"tokenizer.model"}, {"spiece.model"},
    {"sentencepiece.bpe.model"},
)  # fmt: skip
TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "s*.model")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def model_folder(setting: str, model: str, files: Sequence[str]) -> Path:
    """The folder `model`, or the copy in huggingface_hub's own cache of the hub's repository of that id.

    Of a repository only `files`, patterns of paths, are looked for. Nothing is fetched: a job may run where there is no
    network. ModelError, naming the config's `setting`, if there is neither, or if a fetched folder is not whole.
    """
    if Path(model).is_dir():
        check_fetched(setting, Path(model))
        return Path(model)
    if not is_hub_id(model):
        way_out = "give a model folder or an id of the hub such as CompVis/stable-diffusion-v1-4"
        raise ModelError(f"{setting}={model}: no such folder; {way_out}, in config/config.yaml")
    from huggingface_hub import snapshot_download

    # the cache is outside data: whatever is wrong with it, the user needs the name and the way out
    try:
        return Path(snapshot_download(model, allow_patterns=list(files), local_files_only=True))
    except Exception as error:
        raise ModelError(not_fetched(setting, model, model)) from error


def not_fetched(setting: str, model: str, repo_id: str) -> str:
    """What to say of a `model` that the hub has as `repo_id`, and this machine has not."""
    name = repo_id.rpartition("/")[2]
    entry = f"{name}: {{repo_id: {repo_id}, revision: <its commit's 40 digits>}}"
    return (
        f"{setting}={model}: no such folder, {repo_id} of the hub was not fetched, and jobs do not reach out; write "
        f"`{entry}` below downloads.models in the config, and {MODELS}{name} as {setting}: a rule fetches it then "
        "(docs/guide/downloads.md)"
    )


def is_hub_id(model: str) -> bool:
    """Could a repository of the hub have that name?"""
    return _HUB_ID.fullmatch(model) is not None


def folder_kind(folder: Path) -> str:
    """Whose model the folder holds, in words; empty if no known file says so."""
    for name, kind in _KINDS.items():
        if (folder / name).is_file():
            return kind
    return ""


def has_vocabulary(folder: Path) -> bool:
    """Does the folder hold a tokenizer's vocabulary? Without one transformers makes an empty tokenizer, unasked."""
    return any(all((folder / name).is_file() for name in names) for names in _VOCABULARIES)


def folder_digest(
    folder: Path,
    without: Sequence[str] = (),
    suffixes: Sequence[str] = (".json", ".txt", ".safetensors"),
    sha256: Callable[[Path], str] = file_sha256,
) -> str:
    """SHA-256 of the names and contents of a model's files, but of those in its folders `without`.

    What a download says of itself is left out: a model is the same wherever it comes from.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if name.parts[0] not in {*without, ".cache", MARKER} and path.suffix in suffixes:
            digest.update(f"{name.as_posix()} {sha256(path)}\n".encode())
    return digest.hexdigest()
