from pathlib import Path

from icsd.embeddings import embed_captions
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    captions, embeddings = Path(snakemake.input.captions), Path(snakemake.output.embeddings)
    resources, shard = snakemake.resources, snakemake.wildcards.shard
    embed_captions(captions, embeddings, snakemake.params.encoder, resources.batch_tokens, resources.device, shard)
