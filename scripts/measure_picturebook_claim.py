from itertools import product

from icsd.core.logs import job_log
from icsd.picturebook.claim import measure_claim, read_probed

with job_log(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    measure_claim(
        dict(zip(product(params.arms, params.seeds), files.predictions, strict=True)),
        dict(zip(params.arms, files.pairs, strict=True)),
        dict(zip(params.arms, files.probed_pairs, strict=True)),
        read_probed(files.images, files.captions, files.probe),
        snakemake.output.table,
        snakemake.output.page,
        params.samples,
        params.test,
    )
