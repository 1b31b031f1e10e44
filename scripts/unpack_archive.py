from pathlib import Path

from icsd.archives import unpack
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    unpack(Path(snakemake.input.archive), snakemake.params.member, Path(snakemake.output.unpacked))
