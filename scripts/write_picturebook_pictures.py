from pathlib import Path

from icsd.core.logs import job_log
from icsd.picturebook.splits import write_pictures

with job_log(snakemake.log[0]):
    write_pictures(snakemake.wildcards.split, Path(snakemake.output.pictures))
