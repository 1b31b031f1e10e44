from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.groups import measure_recall

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    embeddings, index = Path(snakemake.input.embeddings), Path(snakemake.input.index)
    recall, params = Path(snakemake.output.recall), snakemake.params
    measure_recall([embeddings], index, recall, params.k, params.queries, params.about)
