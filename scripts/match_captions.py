from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.alignment import match_captions

with job_log(snakemake.log[0]):
    shard, matches = Path(snakemake.input.shard), Path(snakemake.output.matches)
    match_captions(shard, [Path(path) for path in snakemake.input.vectors], matches, snakemake.params.k)
