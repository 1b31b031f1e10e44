from pathlib import Path

from icsd.captions import read_captions
from icsd.corpora import Corpus
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    corpus, params = Corpus.of(snakemake.input.annotations, snakemake.params.corpus), snakemake.params
    read_captions(corpus, params.max_characters, Path(snakemake.output.captions), params.shards)
