from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.stages.alignment import ShardTables, score_alignment, score_at_random

with job_log(snakemake.log[0]):
    given, alignment, scorer = snakemake.input, Path(snakemake.output.alignment), snakemake.params.scorer
    shard = ShardTables(Path(given.sentences), Path(given.images), Path(given.captions), snakemake.wildcards.shard)
    if scorer["score"] == "random":
        score_at_random(shard, alignment)
    else:
        vectors = snakemake.output.get("vectors")
        batch_size = job_config(snakemake).alignment.batch_size
        score_alignment(shard, alignment, scorer["model"], batch_size, Path(vectors) if vectors else None)
