"""The folder of an exported captioner, with its generation settings. This module does not import torch."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icsd.core.errors import InputError, ModelError

PREFIX = "caption_prefix"  # key of config.json: the words that every caption begins with
LIMITS, NEW_LIMITS = ("min_length", "max_length"), ("min_new_tokens", "max_new_tokens")
HINT = "give a folder that `snakemake export` wrote, <results>/export/<arm>/captioner-seed-<n>"


@dataclass(frozen=True)
class GenerationSettings:
    """Settings of generation: prefix, beams, and limits of tokens, start token and prefix included.

    Those of a vision-language model, which has a prompt in place of the prefix, are limits of the caption's own tokens.
    """

    prefix: str
    beams: int
    min_tokens: int
    max_tokens: int


def write_folder(checkpoint: Path, folder: Path, settings: GenerationSettings) -> None:
    """Copy the files of a checkpoint into the folder `folder`, with the generation settings."""
    for path in sorted(checkpoint.glob("[!.]*")):
        shutil.copyfile(path, folder / path.name)
    config = _read(folder / "config.json")
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        part.pop("_name_or_path", None)  # a path on the machine that trained
    _write(folder / "config.json", config | {PREFIX: settings.prefix})
    generation = {key: value for key, value in _read(folder / "generation_config.json").items() if key[0] != "_"}
    generation |= {"do_sample": False, "num_beams": settings.beams}
    limits = dict(zip(_limits(config), (settings.min_tokens, settings.max_tokens), strict=True))
    _write(folder / "generation_config.json", generation | limits)


def read_generation_settings(folder: Path) -> GenerationSettings:
    """Read the generation settings of an exported folder; ModelError for any other folder."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; {HINT}")
    try:
        config, generation = _read(folder / "config.json"), _read(folder / "generation_config.json")
        shortest, longest = (generation[key] for key in _limits(config))
        return GenerationSettings(config[PREFIX], generation["num_beams"], shortest, longest)
    except (InputError, KeyError) as error:
        raise ModelError(f"{folder}: not an exported captioner ({error}); {HINT}") from error


def _limits(config: Mapping[str, Any]) -> tuple[str, str]:
    """The keys of generation_config.json that limit the tokens of a caption."""
    return LIMITS if config.get("model_type") == "vision-encoder-decoder" else NEW_LIMITS


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(path, "", f"cannot be read ({error})", "train the captioner again") from error


def _write(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
