from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.sentences import select_sentences

with job_log(snakemake.log[0]):
    select_sentences(
        snakemake.wildcards.arm,
        [Path(path) for path in snakemake.input.summaries],
        Path(snakemake.input.captions),
        Path(snakemake.output.sentences),
        snakemake.params.shards,
        snakemake.params.max_summaries,
        snakemake.params.spare,
        snakemake.params.seed,
    )
