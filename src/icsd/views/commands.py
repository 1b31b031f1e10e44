"""The commands of `icsd` about a run that is under way: status and resume."""

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from icsd.config import Config, load_config
from icsd.config.shipped import laid_over
from icsd.core.errors import ConfigError

DEFAULT_CONFIG = Path("config/config.yaml")
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_status(commands: Commands) -> None:
    """`icsd status`."""
    command = commands.add_parser(
        "status",
        help="show how far a run is",
        description="Show how far a run is: of each stage the jobs that are done, run, wait and have failed, items a "
        "second, time left, and GPU hours beside the estimate. Type it where the Snakefile is.",
    )
    _add_config(command)
    command.set_defaults(run=_status)


def add_resume(commands: Commands) -> None:
    """`icsd resume`."""
    command = commands.add_parser(
        "resume",
        help="go on after the death of the snakemake that submitted jobs",
        description="Go on after the death of the snakemake that submitted jobs: wait for those of the run that are in "
        "the queue still, unlock, and run snakemake --profile slurm. Type it where the Snakefile is.",
    )
    _add_config(command)
    command.add_argument("--cancel", action="store_true", help="cancel the jobs instead of waiting for them")
    command.add_argument("--profile", default="slurm", metavar="NAME", help="snakemake's (default: %(default)s)")
    command.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="more for snakemake, after a --")
    command.set_defaults(run=_resume)


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("--configfile", nargs="+", type=Path, default=[], metavar="FILE", help="as for snakemake")
    command.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as for snakemake")


def _status(options: argparse.Namespace) -> str:
    from icsd.views.status import run_status  # late: the other commands need nothing of it

    logging.basicConfig(level=logging.WARNING, format="icsd: %(message)s")
    config = read_config(options.configfile, options.config)
    prompt = Path(f"config/prompts/{config.summaries.prompt}.txt")
    return run_status(config, prompt, Path("results") / config.run, Path.cwd())


def _resume(options: argparse.Namespace) -> str:
    from icsd.workflow.head import Snakemake, resume

    logging.basicConfig(level=logging.INFO, format="icsd: %(message)s")
    run = read_config(options.configfile, options.config).run
    given = [*(["--configfile", *map(str, options.configfile)] if options.configfile else []),
             *(["--config", *options.config] if options.config else [])]  # fmt: skip
    snakemake = Snakemake(options.profile, [*options.arguments, *given])
    sys.exit(resume(run, Path("results") / run, snakemake, cancel=options.cancel))


def read_config(files: list[Path], assignments: list[str]) -> Config:
    """The config as Snakemake puts it together; ConfigError for a file or an assignment that is none."""
    values: Mapping[str, Any] = {}
    for path in [DEFAULT_CONFIG, *files]:
        try:
            values = laid_over(values, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        except FileNotFoundError:
            raise ConfigError(f"{path}: there is no such file; type this command where the Snakefile is") from None
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--config {assignment} must be KEY=VALUE")
        values = laid_over(values, {key: yaml.safe_load(value)})
    return load_config(values)
