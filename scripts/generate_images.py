from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.stages.images import Drawing, generate_images, image_store, load_generator

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    config = job_config(snakemake)
    generate_images(
        Path(snakemake.input.sentences),
        Path(snakemake.output.images),
        Path(snakemake.output.contact_sheet),
        Drawing(**snakemake.params.settings),
        config.images.batch_size,
        image_store(Path(config.images.store), config.run),
        load_generator(compiled=config.images.compile),
        snakemake.wildcards.shard,
    )
