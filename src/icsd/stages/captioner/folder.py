"""An exported captioner's folder, which says by itself how captions are written with it. Needs no torch."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icsd.core.errors import InputError, ModelError

PREFIX = "caption_prefix"  # of config.json: what every caption begins with, given and not asked for
HINT = "give a folder that `snakemake export` wrote, <results>/export/<arm>/captioner-seed-<n>"


@dataclass(frozen=True)
class Manner:
    """How captions are written: the prefix, beams, and tokens with start mark and prefix."""

    prefix: str
    beams: int
    min_tokens: int
    max_tokens: int


def write_folder(checkpoint: Path, folder: Path, manner: Manner) -> None:
    """Copy a checkpoint's files to `folder`, which is there, and say there how captions are written with it."""
    for path in sorted(checkpoint.glob("[!.]*")):
        shutil.copyfile(path, folder / path.name)
    config = _read(folder / "config.json")
    for part in (config, config.get("encoder", {}), config.get("decoder", {})):
        part.pop("_name_or_path", None)  # a place on the machine that trained
    _write(folder / "config.json", config | {PREFIX: manner.prefix})
    generation = {key: value for key, value in _read(folder / "generation_config.json").items() if key[0] != "_"}
    generation |= {"do_sample": False, "num_beams": manner.beams}
    _write(
        folder / "generation_config.json",
        generation | {"min_length": manner.min_tokens, "max_length": manner.max_tokens},
    )


def read_manner(folder: Path) -> Manner:
    """What an exported folder says; ModelError where it is none."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: there is no such folder; {HINT}")
    try:
        prefix, generation = _read(folder / "config.json")[PREFIX], _read(folder / "generation_config.json")
        return Manner(prefix, generation["num_beams"], generation["min_length"], generation["max_length"])
    except (InputError, KeyError) as error:
        raise ModelError(f"{folder}: is no exported captioner ({error}); {HINT}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(path, "", f"cannot be read ({error})", "train the captioner anew") from error


def _write(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
