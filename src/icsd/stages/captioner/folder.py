"""The folder of an exported captioner, with its generation settings. This module does not import torch."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icsd.core.errors import InputError, ModelError

PREFIX = "caption_prefix"  # key of config.json: the words that every caption begins with
HINT = "give a folder that `snakemake export` wrote, <results>/export/<arm>/captioner-seed-<n>"


@dataclass(frozen=True)
class GenerationSettings:
    """Settings of generation: prefix, beams, and limits of tokens, start token and prefix included."""

    prefix: str
    beams: int
    min_tokens: int
    max_tokens: int


def write_folder(checkpoint: Path, folder: Path, settings: GenerationSettings) -> None:
    """Copy the files of a checkpoint into the folder `folder`, with the generation settings."""
    for path in sorted(checkpoint.glob("[!.]*")):
        shutil.copyfile(path, folder / path.name)
    config = _read(folder / "config.json")
    for part in (config, config.get("encoder", {}), config.get("decoder", {})):
        part.pop("_name_or_path", None)  # a path on the machine that trained
    _write(folder / "config.json", config | {PREFIX: settings.prefix})
    generation = {key: value for key, value in _read(folder / "generation_config.json").items() if key[0] != "_"}
    generation |= {"do_sample": False, "num_beams": settings.beams}
    _write(
        folder / "generation_config.json",
        generation | {"min_length": settings.min_tokens, "max_length": settings.max_tokens},
    )


def read_generation_settings(folder: Path) -> GenerationSettings:
    """Read the generation settings of an exported folder; ModelError for any other folder."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; {HINT}")
    try:
        prefix, generation = _read(folder / "config.json")[PREFIX], _read(folder / "generation_config.json")
        return GenerationSettings(prefix, generation["num_beams"], generation["min_length"], generation["max_length"])
    except (InputError, KeyError) as error:
        raise ModelError(f"{folder}: not an exported captioner ({error}); {HINT}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(path, "", f"cannot be read ({error})", "train the captioner again") from error


def _write(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
