from icsd.config import job_config
from icsd.core.logs import job_log

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    from icsd.stages.captioner.interface import BeamSearch
    from icsd.stages.captioner.predicting import predict_captions

    predict_captions(
        snakemake.input.checkpoint,
        snakemake.input.images,
        snakemake.input.captions,
        snakemake.output.predictions,
        snakemake.output.results,
        snakemake.params.prefix,
        BeamSearch(**snakemake.params.search, batch_size=job_config(snakemake).evaluation.batch_size),
        snakemake.threads,
    )
