from pathlib import Path

from icsd.config import job_config
from icsd.core.download import Source, download_file
from icsd.core.logs import job_log

with job_log(snakemake.log[0]):
    file = str(snakemake.output.file)
    source = Source(job_config(snakemake).downloads.files[file].address, snakemake.params.sha256)
    download_file(source, Path(file))
