from pathlib import Path

from icsd.groups import form_groups
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    neighbors = [Path(path) for path in snakemake.input.neighbors]
    groups, group_times = Path(snakemake.output.groups), Path(snakemake.output.group_times)
    form_groups(neighbors, groups, snakemake.params.shards, group_times)
