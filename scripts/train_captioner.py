from icsd.config import Captioner
from icsd.core.logs import job_log
from icsd.stages.captioner.job import Files, Resources, TrainingJob
from icsd.stages.captioner.model import BeamSearch
from icsd.stages.captioner.training import train

with job_log(snakemake.log[0]):
    given, made, speed = snakemake.input, snakemake.output, snakemake.resources
    places = {name: str(given[name]) for name in ("pairs", "val_images", "val_captions")}
    places |= {"checkpoint": made.checkpoint, "history": made.history, "log": snakemake.log[0]}
    names = ("save_every", "checkpoint_activations", "device", "processes", "nodes")
    resources = Resources(threads=snakemake.threads, **{name: speed[name] for name in names})
    search = BeamSearch(**snakemake.params.search, batch_size=speed.batch_size)
    settings, seed = Captioner(**snakemake.params.settings), int(snakemake.wildcards.seed)
    train(TrainingJob(Files(images=list(given.images), **places), settings, search, seed, resources))
