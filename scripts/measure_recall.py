from pathlib import Path

from icsd.groups import measure_recall
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    embeddings, index = Path(snakemake.input.embeddings), Path(snakemake.input.index)
    recall, params = Path(snakemake.output.recall), snakemake.params
    measure_recall([embeddings], index, recall, params.k, params.queries, params.about)
