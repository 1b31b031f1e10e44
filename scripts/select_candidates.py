from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.sentences import Candidates, Drawn, select_candidates

with job_log(snakemake.log[0]):
    given, params = snakemake.input, snakemake.params
    drawn = Drawn(*([Path(path) for path in given[name]] for name in ("sentences", "alignment", "safety")))
    which = Candidates(int(snakemake.wildcards.number), **params.which)
    select_candidates(drawn, Path(snakemake.output.sentences), params.shards, params.seed, which)
