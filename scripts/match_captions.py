from icsd.core.logs import job_log
from icsd.stages.alignment import match_captions

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    match_captions(snakemake.input.shard, snakemake.input.pictures, snakemake.output.matches, snakemake.params.k)
