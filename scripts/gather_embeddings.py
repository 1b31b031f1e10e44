from icsd.embeddings import gather_embeddings
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    gather_embeddings(snakemake.input.embeddings, snakemake.output.embeddings)
