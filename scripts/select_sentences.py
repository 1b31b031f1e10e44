from pathlib import Path

from icsd.images import select_sentences
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    select_sentences(
        snakemake.wildcards.arm,
        [Path(path) for path in snakemake.input.summaries],
        [Path(path) for path in snakemake.input.captions],
        [Path(path) for path in snakemake.output.sentences],
        snakemake.params.pictures,
        snakemake.params.spare,
        snakemake.params.seed,
    )
