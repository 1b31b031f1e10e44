from icsd.core.logs import job_log
from icsd.picturebook.claim import measure_pairs

with job_log(snakemake.log[0]):
    files = snakemake.input
    measure_pairs(snakemake.wildcards.arm, files.pairs, files.images, files.probe, snakemake.output.table)
