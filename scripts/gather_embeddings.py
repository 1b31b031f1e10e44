from icsd.core.logs import job_log
from icsd.stages.embeddings import gather_embeddings

with job_log(snakemake.log[0]):
    kept = snakemake.input.get("kept") or None  # all without
    gather_embeddings(snakemake.input.embeddings, snakemake.output.embeddings, kept)
