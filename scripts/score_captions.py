import json

from icsd.evaluation.scoring import ScoredFiles, Scoring, score_captions
from icsd.evaluation.spice import Spice
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    files, params, resources, which = snakemake.input, snakemake.params, snakemake.resources, snakemake.wildcards
    spice = Spice(**json.loads(resources.spice))
    score_captions(
        ScoredFiles(files.predictions, files.captions, files.domains, files.vectors or None),
        Scoring(params.metrics, params.samples, spice, params.clip_model, resources.batch_size, snakemake.threads),
        snakemake.output[0],
        which.arm,
        int(which.seed),
        which.test,
    )
