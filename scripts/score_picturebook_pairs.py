from icsd.core.logs import job_log
from icsd.picturebook.alignment import score_pairs_by_probe

with job_log(snakemake.log[0]):
    files, shard = snakemake.input, snakemake.wildcards.shard
    score_pairs_by_probe(files.sentences, files.images, files.captions, files.probe, snakemake.output.alignment, shard)
