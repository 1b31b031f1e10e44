from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.dataset.real import build_real_dataset

with job_log(snakemake.log[0]):
    pictures, captions = Path(snakemake.input.ledger), Path(snakemake.input.captions)
    share = snakemake.params.get("real_share", 1.0)
    build_real_dataset(pictures, captions, Path(snakemake.output.pairs), Path(snakemake.output.ledger), share)
