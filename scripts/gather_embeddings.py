from icsd.core.logs import job_log
from icsd.stages.embeddings import gather_embeddings

with job_log(snakemake.log[0]):
    gather_embeddings(snakemake.input.embeddings, snakemake.output.embeddings)
