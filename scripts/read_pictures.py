from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.corpora import Corpus
from icsd.stages.photos import PictureTables, read_pictures

with job_log(snakemake.log[0]):
    params, output = snakemake.params, snakemake.output
    corpus = Corpus.of(snakemake.input.annotations, params.corpus)
    folder = next((Path(path) for path in snakemake.input.folder), None)
    tables = PictureTables(Path(output.images), Path(output.captions), Path(output.domains), Path(output.ledger))
    split, records = snakemake.wildcards.split, job_config(snakemake).captions.max_drop_share
    read_pictures(corpus, folder, split, tables, params.max_drop_share, records)
