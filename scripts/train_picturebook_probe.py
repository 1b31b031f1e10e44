from pathlib import Path

from icsd.core.logs import job_log
from icsd.picturebook.probe import train_probe

with job_log(snakemake.log[0]):
    params = snakemake.params
    train_probe(Path(snakemake.output.probe), params.seed, snakemake.threads, steps=params.steps)
