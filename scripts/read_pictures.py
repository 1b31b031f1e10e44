from pathlib import Path

from icsd.logs import job_log
from icsd.pictures import read_pictures

with job_log(snakemake.log[0]):
    read_pictures(
        Path(snakemake.input.annotations),
        Path(snakemake.input.folder),
        snakemake.wildcards.split,
        Path(snakemake.output.images),
        Path(snakemake.output.captions),
    )
