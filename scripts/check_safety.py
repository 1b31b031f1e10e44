from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.stages.safety import check_safety

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    images, safety, params = Path(snakemake.input.images), Path(snakemake.output.safety), snakemake.params
    batch_size = job_config(snakemake).safety.batch_size
    check_safety(images, safety, params.model, params.blank_std, batch_size)
