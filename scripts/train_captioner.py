from icsd.config import CaptionerConfig, job_config
from icsd.core.logs import job_log

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    from icsd.config.sources import prefixes
    from icsd.stages.captioner.job import Files, Resources, TrainingJob
    from icsd.stages.captioner.model import BeamSearch
    from icsd.stages.captioner.training import train

    given, made, config = snakemake.input, snakemake.output, job_config(snakemake)
    paths = {name: str(given[name]) for name in ("pairs", "val_images", "val_captions")}
    paths |= {"checkpoint": made.checkpoint, "history": made.history, "log": snakemake.log[0]}
    names = ("checkpoint_activations", "device", "processes", "nodes")
    speed = {name: getattr(config.captioner, name) for name in names}
    resources = Resources(snakemake.threads, config.captioner.checkpoint_every, **speed)
    search = BeamSearch(**snakemake.params.search, batch_size=config.evaluation.batch_size)
    settings, seed = CaptionerConfig(**snakemake.params.settings), int(snakemake.wildcards.seed)
    also, images = list(given.get("also", ())), list(given.images)
    files = Files(images=images, also=also, prefixes=prefixes([*also, *images], settings.folders_also), **paths)
    train(TrainingJob(files, settings, search, seed, resources))
