"""Checks that the cluster can run what jobs request: SLURM lets a job over its limits wait for ever."""

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from icsd.core.errors import ClusterError
from icsd.workflow.slurm import Partition

# the mappings that a profile may have, in snakemake.profiles
SECTIONS = frozenset((
    "set-threads", "resources", "set-scatter", "batch", "set-resource-scopes", "default-resources", "config", "groups",
    "group-components", "consider-ancient", "set-resources",
))  # fmt: skip

# the resources that Snakemake and its SLURM executor read
RESOURCES = frozenset((
    "mem", "mem_mb", "mem_mib", "disk", "disk_mb", "disk_mib", "runtime", "tmpdir", "nodes", "tasks", "tasks_per_node",
    "tasks_per_gpu", "cpus_per_task", "cpus_per_gpu", "mem_mb_per_cpu", "gpu", "gpu_model", "gpu_manufacturer", "gres",
    "constraint", "qos", "mpi", "slurm_partition", "slurm_account", "slurm_extra", "slurm_cluster", "cluster",
    "clusters",
))  # fmt: skip


def check_sections(files: Iterable[Path]) -> None:
    """Raise ClusterError for a section of a profile that Snakemake would ignore."""
    for path in files:
        keys = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for key, value in keys.items():
            if isinstance(value, dict) and key not in SECTIONS:
                raise ClusterError(
                    f"{path} has the section {key}, which Snakemake does not know{suggestion(key, SECTIONS)}"
                )


def profile_files(arguments: Sequence[str]) -> Iterator[Path]:
    """Yield the files of the profiles on Snakemake's command line or in SNAKEMAKE_PROFILE."""
    from snakemake.cli import get_profile_dir

    for name in _named(arguments) or os.environ.get("SNAKEMAKE_PROFILE", "").split(","):
        if name and name != "none" and (found := get_profile_dir(name)):
            yield found[1]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return text such as "; did you mean gpu?", or nothing without a similar name."""
    like = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {like[0]}?" if like else ""


def _named(arguments: Sequence[str]) -> list[str]:
    """Return the profiles in --profile a b, --profile=a and --workflow-profile."""
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


PROFILE = "profiles/slurm/config.yaml"
PARTITIONS = "profiles/slurm/partitions.yaml"


@dataclass(frozen=True)
class JobRequest:
    """The request of a rule's jobs. `partition` is "" where none in the profile can take them."""

    rule: str
    partition: str
    account: str
    minutes: float
    what: str = ""  # all resources, for messages


def check_partitions(requests: Iterable[JobRequest], known: Mapping[str, Partition]) -> None:
    """Raise ClusterError for the first request that none of the cluster's `known` partitions can meet."""
    for request in requests:
        if not request.partition:
            raise ClusterError(
                f"no partition of {PARTITIONS} can take {request.rule}, which asks for {request.what}: give them there "
                f"what `scontrol show partition` tells, or ask for less in set-resources of {PROFILE}"
            )
        if request.partition not in known:
            raise ClusterError(
                f"{request.rule} goes to the partition {request.partition}, which the cluster does not have: name one "
                f"of {_list(known)} in {PARTITIONS}, or in slurm_partition of {PROFILE} where that is set"
            )
        _check_minutes(request, known[request.partition])


def _check_minutes(request: JobRequest, partition: Partition) -> None:
    if partition.minutes is not None and request.minutes > partition.minutes:
        raise ClusterError(
            f"{request.rule} asks for {request.minutes:,.0f} minutes, and the partition {partition.name} gives "
            f"{partition.minutes:,.0f}: such a job would wait for ever. Set max_runtime of {partition.name} in "
            f"{PARTITIONS} to what the cluster gives, so that a longer job goes elsewhere, and ask for less, by "
            f"more shards or by runtime in set-resources of {PROFILE}"
        )


def check_accounts(requests: Iterable[JobRequest], known: Iterable[str]) -> None:
    """Raise ClusterError for the first request of an account that is not `known`; without known ones, check nothing."""
    names = sorted(known)
    for request in requests:
        # several may be named, of which the executor takes the first that is accepted
        for account in request.account.replace(",", " ").split():
            if names and account.lower() not in names:
                raise ClusterError(
                    f"slurm_account={account} in {PROFILE} is no account of yours: name one of {_list(names)}"
                )


def check_resources(given: Mapping[str, Iterable[str]], rules: Iterable[str], known: Iterable[str]) -> None:
    """Raise ClusterError for an unknown rule or resource in the profile: Snakemake accepts any name silently.

    `given` are the resources by rule, "" being default-resources.
    """

    rules, known = set(rules), set(known)
    for rule, resources in given.items():
        place = f"set-resources of {rule}" if rule else "default-resources"
        if rule and rule not in rules:
            raise ClusterError(
                f"set-resources in {PROFILE} names the rule {rule}, which there is not{suggestion(rule, rules)}"
            )
        for resource in resources:
            if resource not in known:
                raise ClusterError(
                    f"{place} in {PROFILE} has {resource}, which neither a rule nor SLURM's executor reads"
                    f"{suggestion(resource, known)}"
                )


def as_words(resources: Mapping[str, Any]) -> str:
    """Return text such as "gpu=1, mem_mb=8000, runtime=240, threads=1"."""
    names = ("gpu", "gres", "mem_mb", "nodes", "runtime", "threads")
    return ", ".join(f"{name}={resources[name]}" for name in names if resources.get(name))


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
