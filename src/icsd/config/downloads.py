"""The downloads before the jobs start: files of a corpus, and models of the Hugging Face hub."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from icsd.config.section import Rate, Section, tracked, untracked

CORPORA, MODELS = "resources/corpora/", "resources/models/"
MARKER = "icsd-download.json"  # manifest of a downloaded model, written last into its folder
# no pickles: loading one runs code
MODEL_FILES = ("*.safetensors", "*.json", "*.txt")
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".joblib")
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_PATH = re.compile(rf"{_PART}(/{_PART})*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def _corpus_path(path: str) -> str:
    if not path.startswith(CORPORA) or not _PATH.fullmatch(path):
        raise ValueError(f"give a path below {CORPORA} of letters, digits, '.', '_' and '-', without '..'")
    return path


def _member(name: str) -> str:
    if not name or name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
        raise ValueError("give a file or, with '/' at its end, a folder as the archive names it, without '..'")
    return name


def _model_name(name: str) -> str:
    if not re.fullmatch(_PART, name):
        raise ValueError(f"give a name of letters, digits, '.', '_' and '-': it becomes a folder in {MODELS}")
    return name


def _commit(revision: str) -> str:
    if not _COMMIT.fullmatch(revision):
        raise ValueError(
            "a branch or a tag can move: give the 40 hexadecimal digits of a commit, as the hub shows them"
        )
    return revision


def _no_pickle(pattern: str) -> str:
    if pattern.lower().endswith(PICKLES):
        raise ValueError("loading a pickle runs the code in it: name safetensors files")
    return pattern


CorpusPath = Annotated[str, AfterValidator(_corpus_path)]


class FileDownload(Section):
    """A file that is published at an address."""

    address: Annotated[str, Field(pattern=r"^https?://[^\s/]+/\S*$")] = tracked(
        ..., "Address, http or https; a mirror changes only the cards of exports."
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = tracked(
        None, "Its SHA-256 in hexadecimal digits; a file with another is refused."
    )
    sha1: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = tracked(
        None, "Its SHA-1, where no SHA-256 is published."
    )
    max_gb: Rate = untracked(100.0, "A server that sends more is an error: some send without end.")
    unpack: dict[Annotated[str, AfterValidator(_member)], CorpusPath] = tracked(
        {},
        "Parts of a zip or tar archive: file -> path, folder/ -> path; ./ is all of it.",
    )

    @model_validator(mode="after")
    def _has_one_checksum(self) -> "FileDownload":
        if (self.sha256 is None) == (self.sha1 is None):
            raise ValueError("give the file's sha256, or its sha1 where no other is published: one of the two")
        return self

    @property
    def checksum(self) -> str:
        """The checksum that is given: 64 hexadecimal digits of SHA-256, or 40 of SHA-1."""
        return self.sha256 or self.sha1 or ""


class ModelDownload(Section):
    """A model of the hub at one commit."""

    repo_id: Annotated[str, Field(pattern=r"^[\w-][\w.-]*(/[\w-][\w.-]*)?$")] = tracked(
        ..., "Such as CompVis/stable-diffusion-v1-4."
    )
    revision: Annotated[str, AfterValidator(_commit)] = tracked(..., "Commit: 40 hexadecimal digits.")
    files: Annotated[list[Annotated[str, AfterValidator(_no_pickle)]], Field(min_length=1)] = tracked(
        list(MODEL_FILES),
        "Patterns of the files to download; * also matches /. Pickles are never downloaded.",
    )


class DownloadsConfig(Section):
    """Downloads by rules on the machine where Snakemake runs; jobs have no network."""

    files: dict[CorpusPath, FileDownload] = tracked({}, "Path below resources/corpora/ -> file.")
    models: dict[Annotated[str, AfterValidator(_model_name)], ModelDownload] = tracked(
        {}, "Folder in resources/models/ -> model."
    )

    @model_validator(mode="after")
    def _each_goes_to_a_place_of_its_own(self) -> "DownloadsConfig":
        paths = sorted([*self.files, *(path for path, _ in self._unpacked())], key=lambda path: path.split("/"))
        for path, following in pairwise(paths):
            if following == path or following.startswith(f"{path}/"):
                raise ValueError(f"{following} lies in {path}, which is made by another download: give it another path")
        repos: dict[str, str] = {}
        for name, model in self.models.items():
            if (first := repos.setdefault(model.repo_id, name)) != name:
                raise ValueError(f"models {first} and {name} are both {model.repo_id}: keep one, so that a run has one")
        return self

    @property
    def unpacked_files(self) -> dict[str, tuple[str, str]]:
        """Path -> the archive and the member that becomes the file."""
        return {path: found for path, found in self._unpacked() if not found[1].endswith("/")}

    @property
    def unpacked_folders(self) -> dict[str, tuple[str, str]]:
        """Path -> the archive and the folder in it that goes there."""
        return {path: found for path, found in self._unpacked() if found[1].endswith("/")}

    def _unpacked(self) -> Iterator[tuple[str, tuple[str, str]]]:
        for archive, file in self.files.items():
            for member, path in file.unpack.items():
                yield path, (archive, member)

    def targets(self) -> list[str]:
        """Return all targets: unpacked files and folders, files that are no archive, and each model's marker."""
        plain = [path for path, file in self.files.items() if not file.unpack]
        markers = [f"{MODELS}{name}/{MARKER}" for name in self.models]
        return [*plain, *self.unpacked_files, *self.unpacked_folders, *markers]

    @staticmethod
    def pattern(paths: Iterable[str]) -> str:
        """Return a wildcard's pattern for these names or corpus paths; without any it matches nothing."""
        return "|".join(re.escape(path.removeprefix(CORPORA)) for path in sorted(paths)) or "(?!)"

    def folder(self, model: str) -> str:
        """Return the folder of the entry with this repo_id, or `model` itself."""
        return next((f"{MODELS}{name}" for name, each in self.models.items() if each.repo_id == model), model)

    def below(self, folder: str) -> list[str]:
        """Return the files in this folder that are downloaded or unpacked: a rule that reads them waits for these."""
        files = [*(path for path, file in self.files.items() if not file.unpack), *self.unpacked_files]
        return sorted(path for path in files if path.startswith(f"{folder}/"))

    def markers(self, *models: str | None) -> list[str]:
        """Return the markers of those of `models` that are downloaded: a rule that loads them waits for these."""
        names = {model.removeprefix(MODELS).split("/")[0] for model in models if model and model.startswith(MODELS)}
        return [f"{MODELS}{name}/{MARKER}" for name in sorted(names & self.models.keys())]
