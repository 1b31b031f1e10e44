from pathlib import Path

from icsd.logs import job_log

from icsd.dataset import build_real_dataset

with job_log(snakemake.log[0]):
    images, captions = Path(snakemake.input.images), Path(snakemake.input.captions)
    build_real_dataset(images, captions, Path(snakemake.output.pairs), Path(snakemake.output.ledger))
