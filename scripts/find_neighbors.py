from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.groups import find_neighbors

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    shards, embeddings = map(Path, snakemake.input.shards), Path(snakemake.input.embeddings)
    index = Path(snakemake.input.index) if snakemake.input.index else None  # exact without
    find_neighbors(list(shards), [embeddings], Path(snakemake.output.neighbors), snakemake.params.k, index)
