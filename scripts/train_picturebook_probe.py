from pathlib import Path

from icsd.core.logs import job_log

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    from icsd.picturebook.probe import train_probe

    params = snakemake.params
    train_probe(Path(snakemake.output.probe), params.seed, snakemake.threads, steps=params.steps)
