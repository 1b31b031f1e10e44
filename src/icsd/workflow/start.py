"""All that is looked at before the first job is submitted. Here alone Snakemake's own objects are read."""

import logging
import re
import sys
import tempfile
from collections.abc import Iterator, Set
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from icsd.core.errors import ClusterError, DiskFullError
from icsd.core.files import room_for
from icsd.workflow import slurm
from icsd.workflow.head import job_name, listed, take_lead
from icsd.workflow.profile import (
    RESOURCES,
    Request,
    check_accounts,
    check_partitions,
    check_resources,
    check_sections,
    profile_files,
    words,
)
from icsd.workflow.resources import LIMITS

EXECUTOR = "snakemake_executor_plugin_slurm"
REFUSAL = re.compile(r"^ClusterError in .*:\n(.*)", re.MULTILINE)  # as Snakemake shows it
HOME_BYTES = 16_000_000  # what Snakemake and the libraries keep in their caches is more, but is not written at once


def begin(workflow: Any, run: str, results: Path) -> None:
    """Be the head of the run, if its jobs go to SLURM: ClusterError for whatever would let the first of them fail.

    Jobs are named after the run from here on, and their logs lie in a folder of that name. The executor has no other
    way to it: the name is made before the config is read. One folder of logs for all has it delete, when it ends,
    those of another head's jobs that are still to begin, which then cannot.
    """
    if not is_slurm(workflow):
        return
    executor = workflow.scheduler._executor
    executor.run_uuid = job_name(run, executor.run_uuid)
    executor.slurm_logdir = Path(executor.slurm_logdir) / executor.run_uuid
    if not slurm.has("sbatch"):
        raise ClusterError(f"sbatch is not on PATH: {slurm.WHERE}")
    check_sections(profile_files(sys.argv[1:]))
    check_resources(_given(workflow), *_known(workflow))
    _check_home()
    requests = sorted(set(_requests(workflow)), key=lambda request: request.rule)
    check_partitions(requests, slurm.partitions())
    if any(request.account for request in requests):
        check_accounts(requests, slurm.accounts())
    if left := slurm.queue(run, Path.cwd()):
        raise ClusterError(
            f"{listed(left)} of an earlier snakemake are in the queue for {results}, and would be submitted a second "
            "time: `icsd resume` waits for them and goes on, `icsd resume --cancel` cancels them first"
        )
    take_lead(results)  # the jobs of an earlier head stop when they see this, so that it comes last


def explain(workflow: Any, run: str) -> None:
    """Say what Snakemake does not: why jobs ended before their own log began."""
    if is_slurm(workflow):
        executor = workflow.scheduler._executor
        for line in [*_refusals(Path(executor.slurm_logdir)), *_unreached(run, executor.run_uuid)]:
            logging.getLogger("snakemake.logging").error(line)


def _refusals(logs: Path) -> set[str]:
    """What jobs said when they saw that they had better not begin."""
    found = [path.read_text(errors="replace") for path in logs.rglob("*.log")]
    return {match[1].strip() for text in found if (match := REFUSAL.search(text))}


def _unreached(run: str, name: str) -> Iterator[str]:
    """Which jobs could not begin, since their nodes do not have this folder."""
    try:
        jobs = [job for job in slurm.accounted(run, Path.cwd(), days=1) if job.name == name]
    except ClusterError:  # a cluster without accounting
        return
    if unreached := [job for job in jobs if job.exit_code == slurm.UNREACHED]:
        nodes = ", ".join(sorted({job.node for job in unreached}))
        yield (
            f"{listed(unreached)} could not begin and have no log: {nodes} does not see {Path.cwd()}, where snakemake "
            "runs. Put the checkout, with .venv and results, on a file system that all nodes have"
        )


def is_slurm(workflow: Any) -> bool:
    """Whether this process submits jobs to SLURM."""
    return type(workflow.scheduler._executor).__module__ == EXECUTOR


def _requests(workflow: Any) -> Iterator[Request]:
    from snakemake_executor_plugin_slurm.partitions import get_best_partition

    executor, quiet = workflow.scheduler._executor, logging.getLogger("icsd.workflow.quiet")
    quiet.setLevel(logging.CRITICAL)
    for job in workflow.dag.needrun_jobs():
        if job.is_local:
            continue
        known = SimpleNamespace(name=job.rule.name, threads=job.threads, resources=known_by_now(job.resources))
        resources = known.resources
        partition = resources.get("slurm_partition")
        if not partition and executor._partitions:
            partition = get_best_partition(executor._partitions, known, quiet) or ""
        if partition is None:  # the cluster's default
            continue
        asked = words({**resources, "threads": job.threads})
        account, minutes = str(resources.get("slurm_account") or ""), float(resources.get("runtime") or 0)
        yield Request(job.rule.name, str(partition), account, minutes, asked)


def known_by_now(resources: Any) -> dict[str, Any]:
    """Without what depends on the size of a table that is still to be made: it is asked for when it is there."""
    from snakemake.common.tbdstring import TBDString

    return {name: value for name, value in resources.items() if not isinstance(value, TBDString)}


def _given(workflow: Any) -> dict[str, list[str]]:
    settings = workflow.resource_settings
    defaults = settings.default_resources
    return {"": list(defaults or ()), **{rule: list(names) for rule, names in settings.overwrite_resources.items()}}


def _known(workflow: Any) -> tuple[set[str], Set[str]]:
    """The rules, and the resources that rules have by themselves, that have a limit, or that SLURM's executor reads."""
    own = {name for rule in workflow.rules if rule.ruleinfo.resources for name in rule.ruleinfo.resources[1]}
    return {rule.name for rule in workflow.rules}, RESOURCES | set(LIMITS) | own | set(workflow.global_resources)


def _check_home() -> None:
    home = Path.home()
    try:
        with room_for(home), tempfile.TemporaryFile(dir=home) as file:
            file.write(bytes(HOME_BYTES))
            file.flush()
    except DiskFullError as error:
        raise ClusterError(
            f"your home, {home}, has no room for {HOME_BYTES / 1e6:.0f} MB ({error.reason}), and jobs keep caches "
            "there: free some, or set XDG_CACHE_HOME and HF_HOME to a folder that all nodes have"
        ) from None
    except OSError:  # read-only, or not there: nothing is kept there
        return
