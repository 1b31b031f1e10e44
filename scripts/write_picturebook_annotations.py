from pathlib import Path

from icsd.core.logs import job_log
from icsd.picturebook.splits import write_annotations

with job_log(snakemake.log[0]):
    write_annotations(snakemake.wildcards.split, Path(snakemake.output.annotations))
