from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.sentences import select_matched_sentences

with job_log(snakemake.log[0]):
    select_matched_sentences(
        snakemake.wildcards.arm,
        Path(snakemake.input.pairs),
        Path(snakemake.input.captions),
        Path(snakemake.output.sentences),
        snakemake.params.shards,
        snakemake.params.seed,
    )
