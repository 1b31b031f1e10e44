from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.groups import index_captions

with job_log(snakemake.log[0]):
    embeddings, index = Path(snakemake.input.embeddings), Path(snakemake.output.index)
    index_captions([embeddings], index, snakemake.params.kind, snakemake.params.settings)
