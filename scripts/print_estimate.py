from pathlib import Path

from icsd.config import load_config
from icsd.core.logs import job_log
from icsd.views.estimate import write_estimate

with job_log(snakemake.log[0]):
    params = snakemake.params
    print(write_estimate(load_config(params.config), Path(params.prompt), Path(params.results)))
