from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.groups import form_groups

with job_log(snakemake.log[0]):
    neighbors = [Path(path) for path in snakemake.input.neighbors]
    groups, group_times = Path(snakemake.output.groups), Path(snakemake.output.group_times)
    dedupe = snakemake.params.get("dedupe", "all")
    form_groups(neighbors, groups, snakemake.params.shards, group_times, dedupe)
