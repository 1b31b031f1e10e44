from pathlib import Path

from icsd.core.logs import job_log

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    from icsd.picturebook.autoencoder import train_autoencoder

    folder, params = Path(snakemake.output.autoencoder), snakemake.params
    train_autoencoder(folder, params.seed, snakemake.threads, steps=params.steps)
