from itertools import product

from icsd.core.logs import job_log
from icsd.picturebook.claim import count_captions, read_probed

with job_log(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    count_captions(
        dict(zip(product(params.arms, params.seeds), files.predictions, strict=True)),
        read_probed(files.images, files.captions, files.probe),
        snakemake.output.counts,
        snakemake.output.quality,
    )
