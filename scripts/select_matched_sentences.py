from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.sentences import Drawn, select_matched_sentences

with job_log(snakemake.log[0]):
    given = snakemake.input
    drawn = Drawn([Path(path) for path in given.drawn], safety=[Path(path) for path in given.safety])
    select_matched_sentences(
        snakemake.wildcards.arm,
        Path(given.pairs) if given.pairs else drawn,
        Path(given.captions),
        Path(snakemake.output.sentences),
        snakemake.params.shards,
        snakemake.params.seed,
    )
