from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.safety import check_safety

with job_log(snakemake.log[0]):
    images, safety, params = Path(snakemake.input.images), Path(snakemake.output.safety), snakemake.params
    check_safety(images, safety, params.model, params.blank_std, snakemake.resources.batch_size)
