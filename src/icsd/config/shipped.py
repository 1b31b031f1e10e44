"""Files beside the Snakefile, for a workflow in another folder that takes this one as a module."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SHIPPED = ("config/prompts/", "resources/picturebook/")


def with_defaults(values: Mapping[str, Any], home: Path) -> dict[str, Any]:
    """Read config/config.yaml in `home`; `values` replace its own."""
    return merged(yaml.safe_load((home / "config/config.yaml").read_text(encoding="utf-8")), values)


def merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `values` over `base` as Snakemake merges config files: mappings key by key."""
    found = dict(base)
    for key, value in values.items():
        below = found.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = merged(below, value)
        found[key] = value
    return found


def shipped_path(path: str, home: Path) -> str:
    """The path of a shipped file or folder: in the working directory if it is there, else in `home`; others stay."""
    if not path.startswith(SHIPPED) or Path(path).exists() or not (home / path).exists():
        return path
    return os.path.relpath(home / path)
