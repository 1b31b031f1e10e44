from pathlib import Path

from icsd.core.download import Source, download_file
from icsd.core.logs import job_log

with job_log(snakemake.log[0]):
    source = Source(snakemake.resources.address, snakemake.params.sha256)
    download_file(source, Path(snakemake.output.file))
