from pathlib import Path

from icsd.core.logs import job_log
from icsd.picturebook.autoencoder import train_autoencoder

with job_log(snakemake.log[0]):
    folder, params = Path(snakemake.output.autoencoder), snakemake.params
    train_autoencoder(folder, params.seed, snakemake.threads, steps=params.steps)
