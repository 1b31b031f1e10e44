from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.corpora import Corpus
from icsd.stages.captions import read_captions

with job_log(snakemake.log[0]):
    corpus, params = Corpus.of(snakemake.input.annotations, snakemake.params.corpus), snakemake.params
    captions, output = job_config(snakemake).captions, Path(snakemake.output.captions)
    read_captions(corpus, params.max_characters, output, params.shards, captions.language, captions.max_drop_share)
