from pathlib import Path

from icsd.core.archives import unpack
from icsd.core.logs import job_log

with job_log(snakemake.log[0]):
    unpack(Path(snakemake.input.archive), snakemake.params.member, Path(snakemake.output.unpacked))
