from icsd.core.logs import job_log
from icsd.picturebook.alignment import measure_alignment

with job_log(snakemake.log[0]):
    files, output = snakemake.input, snakemake.output
    tables = [files.alignment, files.sentences, files.images, files.captions]
    measure_alignment(*tables, files.probe, snakemake.params.score, output.table, output.page)
