from pathlib import Path

from icsd.core.logs import job_log

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    from icsd.picturebook.safety_checker import train_safety_checker

    folder, clip, params = Path(snakemake.output.safety_checker), Path(snakemake.input.clip), snakemake.params
    train_safety_checker(folder, clip, params.seed, snakemake.threads, steps=params.steps)
