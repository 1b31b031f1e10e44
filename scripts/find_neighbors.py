from pathlib import Path

from icsd.groups import find_neighbors
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    embeddings = [Path(path) for path in snakemake.input.embeddings]
    find_neighbors(
        Path(snakemake.input.shard), embeddings, Path(snakemake.output.neighbors), snakemake.params.k
    )
