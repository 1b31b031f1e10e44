from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.images import Drawing, generate_images, image_store, load_generator

with job_log(snakemake.log[0]):
    resources = snakemake.resources
    generate_images(
        Path(snakemake.input.sentences),
        Path(snakemake.output.images),
        Path(snakemake.output.contact_sheet),
        Drawing(**snakemake.params.settings),
        resources.batch_size,
        image_store(Path(resources.store), resources.run),
        load_generator(compiled=bool(resources.compiled)),
        snakemake.wildcards.shard,
    )
