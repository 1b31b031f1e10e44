"""What jobs ask of the cluster, and whether it has that: SLURM itself lets a job over the limits wait for ever."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from icsd.cluster.slurm import Partition
from icsd.errors import ClusterError

PROFILE = "profiles/slurm/config.yaml"
PARTITIONS = "profiles/slurm/partitions.yaml"


@dataclass(frozen=True)
class Request:
    """What the jobs of a rule ask for. `partition` is "" where none of those in the profile can take them."""

    rule: str
    partition: str
    account: str
    minutes: float
    what: str = ""  # the rest of it, in words


def check_partitions(requests: Iterable[Request], known: Mapping[str, Partition]) -> None:
    """ClusterError for the first request that no partition of the cluster's `known` ones can meet."""
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


def _check_minutes(request: Request, partition: Partition) -> None:
    if partition.minutes is not None and request.minutes > partition.minutes:
        raise ClusterError(
            f"{request.rule} asks for {request.minutes:,.0f} minutes, and the partition {partition.name} gives "
            f"{partition.minutes:,.0f}: such a job would wait for ever. Set max_runtime of {partition.name} in "
            f"{PARTITIONS} to what the cluster gives, so that a longer job goes elsewhere, and ask for less, by "
            f"more shards or by runtime in set-resources of {PROFILE}"
        )


def check_accounts(requests: Iterable[Request], known: Iterable[str]) -> None:
    """ClusterError for the first request of an account that is not `known`; where none is, nothing can be told."""
    names = sorted(known)
    for request in requests:
        # several may be named, of which the executor takes the first that is accepted
        for account in request.account.replace(",", " ").split():
            if names and account.lower() not in names:
                raise ClusterError(
                    f"slurm_account={account} in {PROFILE} is no account of yours: name one of {_list(names)}"
                )


def check_resources(given: Mapping[str, Iterable[str]], rules: Iterable[str], known: Iterable[str]) -> None:
    """ClusterError for a rule or a resource of the profile that there is not: Snakemake takes any name in silence.

    `given` are the resources by rule, "" being default-resources.
    """
    from icsd.cluster.profile import suggestion

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


def words(resources: Mapping[str, Any]) -> str:
    """What a job asks for, such as "gpu=1, mem_mb=8000, runtime=240, threads=1"."""
    names = ("gpu", "gres", "mem_mb", "nodes", "runtime", "threads")
    return ", ".join(f"{name}={resources[name]}" for name in names if resources.get(name))


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
