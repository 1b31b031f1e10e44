from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.stages.alignment import ShardTables, score_alignment

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    given, vectors = snakemake.input, snakemake.output.get("vectors")
    score_alignment(
        ShardTables(Path(given.sentences), Path(given.images), Path(given.captions), snakemake.wildcards.shard),
        Path(snakemake.output.alignment),
        snakemake.params.scorer["model"],
        job_config(snakemake).alignment.batch_size,
        Path(vectors) if vectors else None,
    )
