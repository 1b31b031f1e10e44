from icsd.evaluation.summary import collect_scores
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    collect_scores(
        snakemake.input.scores,
        dict(zip(snakemake.params.arms, snakemake.input.pairs, strict=True)),
        snakemake.input.captions,
        snakemake.output.table,
        snakemake.output.page,
        snakemake.params.steps,
    )
