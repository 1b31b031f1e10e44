from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.sentences import Candidates, select_candidates

with job_log(snakemake.log[0]):
    given, params = snakemake.input, snakemake.params
    select_candidates(
        Path(given.sentences),
        [Path(path) for path in given.earlier],
        [Path(path) for path in given.alignment],
        Path(snakemake.output.sentences),
        params.shards,
        params.seed,
        Candidates(int(snakemake.wildcards.number), **params.which),
    )
