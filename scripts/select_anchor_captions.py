from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.sentences import select_anchor_captions

with job_log(snakemake.log[0]):
    select_anchor_captions(
        snakemake.wildcards.arm,
        Path(snakemake.input.groups),
        Path(snakemake.input.captions),
        Path(snakemake.output.sentences),
        snakemake.params.shards,
        snakemake.params.max_summaries,
        snakemake.params.seed,
    )
