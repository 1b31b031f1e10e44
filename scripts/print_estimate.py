from pathlib import Path

from icsd.config import load_config
from icsd.estimate import write_estimate
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    params = snakemake.params
    print(write_estimate(load_config(params.config), Path(params.prompt), Path(params.results)))
