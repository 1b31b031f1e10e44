from pathlib import Path

from icsd.core.logs import job_log
from icsd.views.gallery import write_gallery
from icsd.views.run import Run

with job_log(snakemake.log[0]):
    params = snakemake.params
    run = Run(**params.run | {"folder": Path(params.run["folder"])})
    write_gallery(run, Path(snakemake.output.gallery), params.pictures)
