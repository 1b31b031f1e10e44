import json

from icsd.core.logs import job_log
from icsd.stages.evaluation.scoring import ScoredFiles, Scoring, score_captions
from icsd.stages.evaluation.spice import Spice

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
