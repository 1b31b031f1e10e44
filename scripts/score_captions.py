from icsd.evaluation.scoring import score_captions
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    score_captions(
        snakemake.input.predictions,
        snakemake.input.captions,
        snakemake.output[0],
        snakemake.wildcards.arm,
        int(snakemake.wildcards.seed),
        snakemake.params.metrics,
        snakemake.params.samples,
    )
