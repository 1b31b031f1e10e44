from icsd.evaluation.clip_score import embed_test_pictures
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    embed_test_pictures(
        snakemake.input.images,
        snakemake.input.captions,
        snakemake.output.vectors,
        snakemake.params.model,
        snakemake.resources.batch_size,
    )
