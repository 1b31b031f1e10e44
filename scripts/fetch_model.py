from pathlib import Path

from icsd.core.logs import job_log
from icsd.models.hub import HubModel, download_model

with job_log(snakemake.log[0], online=True):
    download_model(HubModel(**snakemake.params.model), Path(snakemake.output.manifest).parent)
