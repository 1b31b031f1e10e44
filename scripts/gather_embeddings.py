from icsd import tables
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    tables.gather(snakemake.input.embeddings, tables.EMBEDDINGS, snakemake.output.embeddings)
