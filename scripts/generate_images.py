from pathlib import Path

from icsd.images import Drawing, generate_images
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    generate_images(
        Path(snakemake.input.sentences),
        Path(snakemake.output.images),
        Path(snakemake.output.contact_sheet),
        Drawing(**snakemake.params.settings),
        snakemake.resources.batch_size,
    )
