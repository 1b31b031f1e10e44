from pathlib import Path

from icsd.config import job_config
from icsd.core.download import Source, download_file
from icsd.core.logs import job_log

with job_log(snakemake.log[0]):
    file = str(snakemake.output.file)
    declared = job_config(snakemake).downloads.files[file]
    source = Source(declared.address, snakemake.params.sha256, declared.max_gb * 1e9)
    download_file(source, Path(file))
