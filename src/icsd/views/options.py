"""Options that several subcommands of `icsd` share."""

import argparse
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from icsd.config import Config, load_config
from icsd.config.shipped import merged
from icsd.core.errors import ConfigError
from icsd.core.text import one_line
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
    """The config as Snakemake merges it; ConfigError for what it would refuse."""
    values: Mapping[str, Any] = {}
    for path in [DEFAULT_CONFIG, *files]:
        values = merged(values, _read_overlay(path))
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--config {assignment} must be KEY=VALUE")
        if "." in key:
            section, _, name = key.partition(".")
            raise ConfigError(f"--config {assignment}: below a section write --config '{section}={{{name}: {value}}}'")
        values = merged(values, {key: yaml.safe_load(value)})
    return load_config(values)


def _read_overlay(path: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        where = "" if DEFAULT_CONFIG.is_file() else "; type this command where the Snakefile is"
        raise ConfigError(f"{path}: there is no such file{where}{_near(path)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}{_problem(error)}; put it right, or quote a text with its marks") from error
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"{path}: must have keys with values, such as `run: my-run`, as config/config.yaml has")
    return found


def _problem(error: Exception) -> str:
    """Return where a file is not YAML, and why."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f", line {mark.line + 1}, column {mark.column + 1}: is not YAML: {error.problem}"
    return f": is not YAML: {one_line(str(error))}"


def _near(path: Path) -> str:
    """Name a file of YAML beside `path` with a similar name; empty if there is none."""
    near = difflib.get_close_matches(path.name, [each.name for each in path.parent.glob("*.y*ml")], n=1)
    return f"; did you mean {path.with_name(near[0])}?" if near else ""


def positive(text: str) -> int:
    """A whole number of at least 1, from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number of at least 1")
    return int(text)
