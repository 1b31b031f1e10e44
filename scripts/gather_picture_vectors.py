from icsd.core.logs import job_log
from icsd.stages.alignment import gather_picture_vectors

with job_log(snakemake.log[0]):
    gather_picture_vectors(snakemake.input.vectors, snakemake.output.pictures)
