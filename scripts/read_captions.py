from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.corpora import Corpus
from icsd.stages.captions import read_captions

with job_log(snakemake.log[0]):
    corpus, params = Corpus.of(snakemake.input.annotations, snakemake.params.corpus), snakemake.params
    language = job_config(snakemake).captions.language
    read_captions(corpus, params.max_characters, Path(snakemake.output.captions), params.shards, language)
