from icsd.config import CaptionerConfig, job_config
from icsd.core.logs import job_log

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    from icsd.stages.captioner.interface import BeamSearch
    from icsd.stages.captioner.job import Files, Resources, TrainingJob, prefixes
    from icsd.stages.captioner.training import train

    given, made, config = snakemake.input, snakemake.output, job_config(snakemake)
    paths = {name: str(given[name]) for name in ("pairs", "val_images", "val_captions")}
    paths |= {"checkpoint": made.checkpoint, "history": made.history, "log": snakemake.log[0]}
    speed = config.captioner.model_dump(include={"checkpoint_activations", "device", "processes", "nodes", "workers"})
    resources = Resources(snakemake.threads, config.captioner.checkpoint_every, **speed)
    search = BeamSearch(**snakemake.params.search, batch_size=config.evaluation.batch_size)
    settings, seed = CaptionerConfig(**snakemake.params.settings), int(snakemake.wildcards.seed)
    prefix_of = prefixes([*given.get("also", ()), *given.images], settings.folders_also)
    files = Files(images=list(given.images), also=list(given.get("also", ())), prefixes=prefix_of, **paths)
    train(TrainingJob(files, settings, search, seed, resources, config.captions.language))
