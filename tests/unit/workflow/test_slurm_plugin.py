"""Bugs of the executor plugin that profiles/slurm avoids. An xfail that passes shows a bug that upstream has fixed.

tests/slurm/test_upstream.py has what only a cluster shows.
"""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

plugin = pytest.importorskip("snakemake_executor_plugin_slurm")


class _NoLimit:
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...


def _executor(status_command: str, errors: list[str]) -> Any:
    """The plugin's executor, as far as it looks after one job, without Snakemake and SLURM."""

    class Executor(plugin.Executor):
        status_rate_limiter = _NoLimit()

        def report_job_error(self, job: Any, **_: Any) -> None:
            errors.append(job.external_jobid)

    executor = object.__new__(Executor)
    settings = plugin.ExecutorSettings(status_command=status_command, init_seconds_before_status_checks=1)
    vars(executor).update(
        workflow=SimpleNamespace(executor_settings=settings), logger=logging.getLogger("plugin"), run_uuid="run",
        _next_seconds_between_status_checks=1, _preemption_warning=False, _status_query_calls=0,
        _status_query_failures=0, _status_query_total_seconds=0.0, _status_query_min_seconds=None,
        _status_query_max_seconds=0.0, _status_query_cycle_rows=[], _failed_nodes=set(),
    )  # fmt: skip
    return executor


def _given_up(monkeypatch: pytest.MonkeyPatch, status_command: str, state: str) -> bool:
    """Return whether the plugin counts a job in this state as failed, in one of three queries."""

    async def answer(*_: object) -> tuple[dict[str, str], float]:
        return {"7": state}, 0.0

    monkeypatch.setattr(plugin, "query_job_status", answer)
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: 300)
    monkeypatch.setattr(plugin, "is_query_tool_available", lambda tool: True)
    monkeypatch.setattr(plugin.subprocess, "check_output", lambda *_, **__: "")
    errors: list[str] = []
    executor = _executor(status_command, errors)
    job = SimpleNamespace(external_jobid="7", aux={"slurm_logfile": None})

    async def look() -> list[Any]:
        return [each async for each in executor.check_active_jobs([job])]

    for _ in range(3):
        asyncio.run(look())
    return errors != []


@pytest.mark.parametrize(
    ("status_command", "state"), [("squeue", "CANCELLED"), ("squeue", "TIMEOUT"), ("sacct", "FAILED")]
)
def test_the_plugin_sees_that_a_job_failed(monkeypatch: pytest.MonkeyPatch, status_command: str, state: str) -> None:
    assert _given_up(monkeypatch, status_command, state)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="hence slurm-status-command: squeue")
def test_the_plugin_sees_in_the_accounting_that_somebody_cancelled_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _given_up(monkeypatch, "sacct", "CANCELLED by 1000")


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="hence slurm-requeue: true")
def test_the_plugin_sees_that_a_preempted_job_will_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _given_up(monkeypatch, "squeue", "PREEMPTED")
