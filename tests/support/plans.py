"""Plans of Snakemake for configs: reads a JSON list of configs, writes a list of plans; run in the working directory.

A plan has, for each job, the params that Snakemake compares and the input files. One process makes them all: Snakemake
takes seconds to import.
"""

import json
import sys
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

ROOT = Path(__file__).parents[2]
TARGETS = {"all", "export", "compare_prompts", "downloads", "picturebook_claim"}
Plan = dict[str, list[str]]  # job -> its params and input files


def plan(config: dict[str, Any]) -> Plan:
    """The jobs of a run of this config of which nothing is done."""
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config=config),
            snakefile=ROOT / "Snakefile",
        ).dag(DAGSettings(targets=TARGETS)).workflow_api._workflow  # fmt: skip
        workflow._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True)
        workflow._build_dag()
        return {
            f"{job.rule.name} {' '.join(sorted(job.output))}": sorted(map(repr, job.non_derived_params))
            + sorted(job.input)
            for job in workflow.dag.jobs
        }


if __name__ == "__main__":
    json.dump([plan(config) for config in json.load(sys.stdin)], sys.stdout)
