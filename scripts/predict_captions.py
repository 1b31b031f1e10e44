from icsd.captioner.model import Search
from icsd.captioner.predicting import predict_captions
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    predict_captions(
        snakemake.input.checkpoint,
        snakemake.input.images,
        snakemake.input.captions,
        snakemake.output.predictions,
        snakemake.output.results,
        snakemake.params.prefix,
        Search(**snakemake.params.search, batch_size=snakemake.resources.batch_size),
        snakemake.threads,
    )
