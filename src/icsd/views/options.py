"""Options that several subcommands of `icsd` share."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from icsd.config import Config, load_config
from icsd.config.shipped import merged
from icsd.core.errors import ConfigError
from icsd.views.run import DEFAULT_RUN

DEFAULT_CONFIG = Path("config/config.yaml")
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_results(command: argparse.ArgumentParser) -> None:
    """Add --results, the folder of a run."""
    command.add_argument(
        "--results", type=Path, default=DEFAULT_RUN, metavar="FOLDER", help="a run's folder (default: %(default)s)"
    )


def add_config(command: argparse.ArgumentParser) -> None:
    """Add --configfile and --config, the files and values that `read_config` merges."""
    command.add_argument("--configfile", nargs="+", type=Path, default=[], metavar="FILE", help="as for snakemake")
    command.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as for snakemake")


def read_config(files: list[Path], assignments: list[str]) -> Config:
    """The config as Snakemake merges it; ConfigError for a missing file or an assignment without "="."""
    values: Mapping[str, Any] = {}
    for path in [DEFAULT_CONFIG, *files]:
        try:
            values = merged(values, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        except FileNotFoundError:
            raise ConfigError(f"{path}: there is no such file; type this command where the Snakefile is") from None
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--config {assignment} must be KEY=VALUE")
        values = merged(values, {key: yaml.safe_load(value)})
    return load_config(values)


def positive(text: str) -> int:
    """A whole number of at least 1, from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number of at least 1")
    return int(text)
