from icsd.core.logs import job_log
from icsd.stages.evaluation.comparison import collect_scores

with job_log(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    collect_scores(
        files.scores,
        dict(zip(params.arms, files.pairs, strict=True)),
        dict(zip(params.tests, zip(files.captions, files.domains, strict=True), strict=True)),
        snakemake.output.table,
        snakemake.output.page,
        params.length,
    )
