from icsd.captioner.model import Search
from icsd.captioner.training import Files, train_captioner
from icsd.config import Captioner
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    paths = Files(
        pairs=snakemake.input.pairs,
        images=list(snakemake.input.images),
        val_images=snakemake.input.val_images,
        val_captions=snakemake.input.val_captions,
        checkpoint=snakemake.output.checkpoint,
        history=snakemake.output.history,
    )
    search = Search(**snakemake.params.search, batch_size=snakemake.resources.batch_size)
    seed, every = int(snakemake.wildcards.seed), snakemake.resources.save_every
    train_captioner(paths, Captioner(**snakemake.params.settings), search, seed, snakemake.threads, every)
