from pathlib import Path

from icsd.backends.hub import HubModel, fetch_model
from icsd.logs import job_log

with job_log(snakemake.log[0], online=True):
    fetch_model(HubModel(**snakemake.params.model), Path(snakemake.output.manifest).parent)
