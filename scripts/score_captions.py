from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.stages.evaluation.scoring import ScoredFiles, Scoring, score_captions
from icsd.stages.evaluation.spice import Spice

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    files, params, which = snakemake.input, snakemake.params, snakemake.wildcards
    language, config = job_config(snakemake).captions.language, job_config(snakemake).evaluation
    spice, threads = Spice(**config.spice.model_dump()), snakemake.threads
    score_captions(
        ScoredFiles(files.predictions, files.captions, files.domains, files.vectors or None),
        Scoring(params.metrics, params.samples, spice, params.clip_model, config.batch_size, threads, language),
        snakemake.output[0],
        which.arm,
        int(which.seed),
        which.test,
    )
