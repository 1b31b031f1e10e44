from pathlib import Path

from icsd.captions import read_captions
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    shards = [Path(path) for path in snakemake.output.captions]
    params = snakemake.params
    read_captions(Path(snakemake.input.annotations), params.split, params.max_characters, shards)
