"""The workflow's handlers: all checks before the first job is submitted, and an explanation of jobs that failed.

Only this module reads Snakemake's own objects.
"""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from icsd.core.errors import ClusterError, DiskFullError
from icsd.core.files import room_for
from icsd.workflow import slurm
from icsd.workflow.head import become_head, count_and_ids, job_name
from icsd.workflow.profile import (
    RESOURCES,
    JobRequest,
    as_words,
    check_accounts,
    check_partitions,
    check_resources,
    check_sections,
    profile_files,
)
from icsd.workflow.resources import LIMITS

EXECUTOR = "snakemake_executor_plugin_slurm"
REFUSAL = re.compile(r"^ClusterError in .*:\n(.*)", re.MULTILINE)  # as Snakemake shows it
JOB_ERROR = re.compile(r"^[\d-]{10} [\d:,]{12} ERROR (.*(?:\n    .*)*)", re.MULTILINE)  # as job_log writes it
SHOWN_ERRORS = 3
HOME_BYTES = 16_000_000  # what Snakemake and the libraries keep in their caches is more, but is not written at once


def start_head(workflow: Any, run: str, results: Path) -> None:
    """Make this process the head of the run, if its jobs go to SLURM; ClusterError for what would make jobs fail.

    This names the jobs after the run, and their folder of logs too: the executor makes the name before the config is
    read. With one folder of logs for all runs, an executor that ends would delete those of another head's waiting jobs,
    which then could not start.
    """
    if not is_slurm(workflow):
        return
    executor = workflow.scheduler._executor
    executor.run_uuid = job_name(run, executor.run_uuid)
    executor.slurm_logdir = Path(executor.slurm_logdir) / executor.run_uuid
    if not slurm.is_installed("sbatch"):
        raise ClusterError(f"sbatch is not on PATH: {slurm.WHERE}")
    check_sections(profile_files(sys.argv[1:]))
    check_resources(_given(workflow), *_known(workflow))
    _check_home()
    requests = sorted(set(_requests(workflow)), key=lambda request: request.rule)
    check_partitions(requests, slurm.partitions())
    if any(request.account for request in requests):
        check_accounts(requests, slurm.accounts())
    if left := slurm.queued_jobs(run, Path.cwd()):
        raise ClusterError(
            f"{count_and_ids(left)} of an earlier snakemake are in the queue for {results}, and would be submitted a "
            "second time: `icsd resume` waits for them and goes on, `icsd resume --cancel` cancels them first"
        )
    become_head(results)  # last: the jobs of an earlier head stop when they see this


def limit_gpus(workflow: Any, gpus: int) -> None:
    """Let the jobs of a run on this machine request at most its `gpus` at once; ClusterError for one that needs more.

    Snakemake's own limit, `--resources gpu=`, is read before the Snakefile; a lower one stays.
    """
    if not gpus or not workflow.local_exec:
        return
    for job in workflow.dag.needrun_jobs():
        if (needed := known_by_now(job.resources).get("gpu", 0)) > gpus:
            raise ClusterError(
                f"{job.rule.name} needs {needed} GPUs, and this run has {gpus}: set captioner.processes to {gpus} or "
                "less, in config/config.yaml, or name more in CUDA_VISIBLE_DEVICES"
            )
    scheduler = workflow.scheduler
    limit = min(gpus, scheduler.global_resources.get("gpu", gpus))
    workflow.global_resources["gpu"] = limit
    scheduler.global_resources["gpu"] = scheduler.resources["gpu"] = limit
    logging.getLogger("snakemake.logging").info(f"GPUs of this machine: {gpus}, each leased to one job at a time")


def warn_of_small_models(workflow: Any, left: Mapping[str, str]) -> None:
    """Warn of jobs with models of the picture book for captions of another world; `left` maps their rules to keys."""
    rules = {job.rule.name for job in workflow.dag.needrun_jobs()}
    if keys := [key for rule, key in left.items() if rule in rules]:
        logging.getLogger("snakemake.logging").warning(
            f"Of the picture book, though embeddings.model is not: {', '.join(keys)}. Its models know a few hundred "
            "words alone: name others, or stop before these jobs (docs/guide/your-captions.md#a-real-run)"
        )


def mark_outdated(workflow: Any) -> None:
    """Mark existing outputs of the jobs that are to run as incomplete; each job takes the mark off when it has ended.

    Snakemake deletes a job's outputs before it begins, and makes a missing file again only where a job needs it. Where
    a run with a changed config stopped between two jobs, the next command would find the old tables after the gap, and
    say that nothing is to be done (snakemake/snakemake#1978).
    """
    if workflow.touch or not workflow.is_main_process:
        return
    for job in workflow.dag.needrun_jobs():
        if any(map(os.path.exists, job.output)):
            workflow.persistence.started(job)


def explain_failures(workflow: Any, run: str) -> None:
    """Log why jobs ended before their own log began, which Snakemake does not report, and the last errors of jobs.

    Snakemake shows those with all of the failed job's log, and its own lines below: here they come last, as one line.
    """
    log = logging.getLogger("snakemake.logging")
    if is_slurm(workflow):
        executor = workflow.scheduler._executor
        for line in [*_refusals(Path(executor.slurm_logdir)), *_unreached(run, executor.run_uuid)]:
            log.error(line)
    errors = [error for path in map(Path, workflow.logger_manager.get_logfile()) for error in job_errors(path)]
    overlays = list(map(str, workflow.config_settings.configfiles))
    for error in errors[-SHOWN_ERRORS:]:
        # a key that an overlay sets is not changed in the default config
        shown = error.replace(" in config/config.yaml", f" in {os.path.relpath(overlays[-1])}") if overlays else error
        log.error(f"\nStopped: {shown}")
    if any(not error.startswith("interrupted: ") for error in errors):
        log.error("What is finished is kept: put it right, and type the same command again.")


def job_errors(log: Path) -> list[str]:
    """Return the different errors in the logs of jobs that Snakemake's log shows, in their order."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return list(dict.fromkeys(match[1].strip() for match in JOB_ERROR.finditer(text)))


def _refusals(logs: Path) -> set[str]:
    """Return the errors of jobs that refused to start."""
    found = [path.read_text(errors="replace") for path in logs.rglob("*.log")]
    return {match[1].strip() for text in found if (match := REFUSAL.search(text))}


def _unreached(run: str, name: str) -> Iterator[str]:
    """Describe the jobs that could not start because their nodes lack this folder."""
    try:
        jobs = [job for job in slurm.accounted_jobs(run, Path.cwd(), days=1) if job.name == name]
    except ClusterError:  # a cluster without accounting
        return
    if unreached := [job for job in jobs if job.exit_code == slurm.UNREACHED]:
        nodes = ", ".join(sorted({job.node for job in unreached}))
        yield (
            f"{count_and_ids(unreached)} could not begin and have no log: {nodes} does not see {Path.cwd()}, where "
            "snakemake runs. Put the checkout, with .venv and results, on a file system that all nodes have"
        )


def is_slurm(workflow: Any) -> bool:
    """Return whether this process submits jobs to SLURM."""
    return type(workflow.scheduler._executor).__module__ == EXECUTOR


def _requests(workflow: Any) -> Iterator[JobRequest]:
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
        request = as_words({**resources, "threads": job.threads})
        account, minutes = str(resources.get("slurm_account") or ""), float(resources.get("runtime") or 0)
        yield JobRequest(job.rule.name, str(partition), account, minutes, request)


def known_by_now(resources: Any) -> dict[str, Any]:
    """Leave out the resources that depend on the size of a table that does not exist yet."""
    from snakemake.common.tbdstring import TBDString

    return {name: value for name, value in resources.items() if not isinstance(value, TBDString)}


def _given(workflow: Any) -> dict[str, list[str]]:
    settings = workflow.resource_settings
    defaults = settings.default_resources
    return {"": list(defaults or ()), **{rule: list(names) for rule, names in settings.overwrite_resources.items()}}


def _known(workflow: Any) -> tuple[set[str], Set[str]]:
    """Return all rules, and all resources that a rule, a limit or SLURM's executor defines."""
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
