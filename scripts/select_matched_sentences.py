from pathlib import Path

from icsd.images import select_matched_sentences
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    select_matched_sentences(
        Path(snakemake.input.pairs),
        [Path(path) for path in snakemake.input.captions],
        [Path(path) for path in snakemake.output.sentences],
        snakemake.params.seed,
    )
