from pathlib import Path

from icsd.gallery import Run, write_gallery
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    params = snakemake.params
    run = Run(**params.run | {"folder": Path(params.run["folder"])})
    write_gallery(run, Path(snakemake.output.gallery), params.pictures)
