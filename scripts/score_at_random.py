from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.alignment import score_at_random

with job_log(snakemake.log[0]):
    score_at_random(
        Path(snakemake.input.sentences),
        Path(snakemake.input.captions),
        Path(snakemake.output.alignment),
        snakemake.wildcards.shard,
    )
