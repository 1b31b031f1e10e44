from pathlib import Path

from icsd.images import select_matched_sentences
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    select_matched_sentences(
        Path(snakemake.input.pairs),
        Path(snakemake.input.captions),
        Path(snakemake.output.sentences),
        snakemake.params.shards,
        snakemake.params.seed,
    )
