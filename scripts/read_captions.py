from pathlib import Path

from icsd.captions import read_captions
from icsd.corpora import Corpus
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    corpus = Corpus.of(snakemake.input.annotations, snakemake.params.corpus)
    shards = [Path(path) for path in snakemake.output.captions]
    read_captions(corpus, snakemake.params.max_characters, shards)
