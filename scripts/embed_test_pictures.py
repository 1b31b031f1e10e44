from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.stages.evaluation.clip_score import embed_test_pictures

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    embed_test_pictures(
        snakemake.input.images,
        snakemake.input.captions,
        snakemake.output.vectors,
        snakemake.params.model,
        job_config(snakemake).evaluation.batch_size,
    )
