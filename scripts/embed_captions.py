from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.stages.embeddings import embed_captions

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    captions, embeddings = Path(snakemake.input.captions), Path(snakemake.output.embeddings)
    config, encoder = job_config(snakemake).embeddings, snakemake.params.encoder
    shard = snakemake.wildcards.get("shard")  # none for references, which are a table of their own
    embed_captions(captions, embeddings, encoder, config.batch_tokens, config.device, shard)
