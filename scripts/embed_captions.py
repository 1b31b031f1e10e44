from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.embeddings import embed_captions

with job_log(snakemake.log[0]):
    captions, embeddings = Path(snakemake.input.captions), Path(snakemake.output.embeddings)
    resources, shard = snakemake.resources, snakemake.wildcards.shard
    embed_captions(captions, embeddings, snakemake.params.encoder, resources.batch_tokens, resources.device, shard)
