from pathlib import Path

from icsd.groups import form_groups
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    neighbors = [Path(path) for path in snakemake.input.neighbors]
    groups = [Path(path) for path in snakemake.output.groups]
    form_groups(neighbors, groups, Path(snakemake.output.group_times))
