from icsd.core.logs import job_log
from icsd.picturebook.claim import measure_arm

with job_log(snakemake.log[0]):
    files = snakemake.input
    measure_arm(
        snakemake.wildcards.arm, files.pairs, files.images, files.histories, files.probe, snakemake.output.table
    )
