"""The profile's keys. Snakemake refuses a value under a key that it does not know, but passes over a whole section."""

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import yaml

from icsd.errors import ClusterError

# what a profile may have as a mapping, in snakemake.profiles
SECTIONS = frozenset((
    "set-threads", "resources", "set-scatter", "batch", "set-resource-scopes", "default-resources", "config", "groups",
    "group-components", "consider-ancient", "set-resources",
))  # fmt: skip

# what a job may ask for: of Snakemake, and of its SLURM executor
RESOURCES = frozenset((
    "mem", "mem_mb", "mem_mib", "disk", "disk_mb", "disk_mib", "runtime", "tmpdir", "nodes", "tasks", "tasks_per_node",
    "tasks_per_gpu", "cpus_per_task", "cpus_per_gpu", "mem_mb_per_cpu", "gpu", "gpu_model", "gpu_manufacturer", "gres",
    "constraint", "qos", "mpi", "slurm_partition", "slurm_account", "slurm_extra", "slurm_cluster", "cluster",
    "clusters",
))  # fmt: skip


def check_sections(files: Iterable[Path]) -> None:
    """ClusterError for a section of a profile that Snakemake would pass over."""
    for path in files:
        keys = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for key, value in keys.items():
            if isinstance(value, dict) and key not in SECTIONS:
                raise ClusterError(
                    f"{path} has the section {key}, which Snakemake does not know{suggestion(key, SECTIONS)}"
                )


def profile_files(arguments: Sequence[str]) -> Iterator[Path]:
    """The files of the profiles that Snakemake is given on its command line, or in SNAKEMAKE_PROFILE."""
    from snakemake.cli import get_profile_dir

    for name in _named(arguments) or os.environ.get("SNAKEMAKE_PROFILE", "").split(","):
        if name and name != "none" and (found := get_profile_dir(name)):
            yield found[1]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Such as "; did you mean gpu?"; empty where nothing is like it."""
    like = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {like[0]}?" if like else ""


def _named(arguments: Sequence[str]) -> list[str]:
    """Of --profile a b, --profile=a and --workflow-profile."""
    found, taking = list[str](), False
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if argument.startswith("-"):
            taking = option in ("--profile", "--workflow-profile") and not equals
            if option in ("--profile", "--workflow-profile") and equals:
                found.append(value)
        elif taking:
            found.append(argument)
    return found
