"""Where a model's files lie: a folder, or a repository of the Hugging Face hub, fetched once."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from icsd.errors import ModelError

# what a pipeline of the hub is fetched for: no pickles, no half-precision doubles
PIPELINE_FILES = (
    "model_index.json",
    "*/*.json",
    "*/*.txt",
    "*/model.safetensors",
    "*/diffusion_pytorch_model.safetensors",
)
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def model_folder(setting: str, model: str, files: Sequence[str]) -> Path:
    """The folder `model`, or the local copy of the hub's repository of that id.

    Of a repository only `files`, patterns of paths, are fetched. ModelError, naming the config's `setting`,
    if there is neither.
    """
    if Path(model).is_dir():
        return Path(model)
    if not _HUB_ID.fullmatch(model):
        way_out = "give a model folder or an id of the hub such as CompVis/stable-diffusion-v1-4"
        raise ModelError(f"{setting}={model}: no such folder; {way_out}, in config/config.yaml")
    from huggingface_hub import snapshot_download

    # the network is outside data: whatever is wrong with it, the user needs the name and what was found
    try:
        return Path(snapshot_download(model, allow_patterns=list(files)))
    except Exception as error:
        problem = f"no such folder, and the hub does not give it: {error}"
        raise ModelError(f"{setting}={model}: {problem}; give a model folder, in config/config.yaml") from error


def folder_digest(folder: Path, without: Sequence[str] = ()) -> str:
    """SHA-256 of the names and contents of a model's files, but of those in its folders `without`."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if name.parts[0] in without or path.suffix not in {".json", ".txt", ".safetensors"}:
            continue
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name.as_posix()} {content}\n".encode())
    return digest.hexdigest()
