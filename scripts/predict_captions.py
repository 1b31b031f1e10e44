from icsd.core.logs import job_log
from icsd.stages.captioner.model import BeamSearch
from icsd.stages.captioner.predicting import predict_captions

with job_log(snakemake.log[0]):
    predict_captions(
        snakemake.input.checkpoint,
        snakemake.input.images,
        snakemake.input.captions,
        snakemake.output.predictions,
        snakemake.output.results,
        snakemake.params.prefix,
        BeamSearch(**snakemake.params.search, batch_size=snakemake.resources.batch_size),
        snakemake.threads,
    )
