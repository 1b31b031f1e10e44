"""What lies beside the Snakefile, for another workflow that takes it as a module and has a folder of its own."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SHIPPED = ("config/prompts/", "resources/picturebook/")


def completed(values: Mapping[str, Any], home: Path) -> dict[str, Any]:
    """The config that `values` are when laid over config/config.yaml in `home`."""
    return laid_over(yaml.safe_load((home / "config/config.yaml").read_text(encoding="utf-8")), values)


def laid_over(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """As Snakemake lays one config file over another: mappings key by key, all else whole."""
    found = dict(base)
    for key, value in values.items():
        below = found.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = laid_over(below, value)
        found[key] = value
    return found


def located(path: str, home: Path) -> str:
    """A shipped file or folder: in the working directory where it is there, else in `home`; any other as it is."""
    if not path.startswith(SHIPPED) or Path(path).exists() or not (home / path).exists():
        return path
    return os.path.relpath(home / path)
