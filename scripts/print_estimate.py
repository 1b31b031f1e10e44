from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.views.estimate import write_estimate

with job_log(snakemake.log[0]):
    config = job_config(snakemake)
    print(write_estimate(config, Path(snakemake.params.prompt), Path(config.results)))
