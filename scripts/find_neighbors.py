from pathlib import Path

from icsd.groups import find_neighbors
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    shard, embeddings = Path(snakemake.input.shard), Path(snakemake.input.embeddings)
    index = Path(snakemake.input.index) if snakemake.input.index else None  # exact without
    find_neighbors(shard, [embeddings], Path(snakemake.output.neighbors), snakemake.params.k, index)
