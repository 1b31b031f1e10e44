from pathlib import Path

from icsd.groups import index_captions
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    embeddings, index = Path(snakemake.input.embeddings), Path(snakemake.output.index)
    index_captions([embeddings], index, snakemake.params.kind, snakemake.params.settings)
