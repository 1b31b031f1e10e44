from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.captioner.folder import GenerationSettings
from icsd.views.export.captioner import Trained, export_captioner

with job_log(snakemake.log[0]):
    files, params, names = snakemake.input, snakemake.params, snakemake.wildcards
    scores = list(map(Path, files.scores))
    trained = Trained(names.arm, int(names.seed), Path(files.checkpoint), Path(files.pairs), scores, params.settings)
    generation = GenerationSettings(params.settings.get("prefix", ""), **params.search)
    export_captioner(trained, Path(snakemake.output[0]), generation, params.source)
