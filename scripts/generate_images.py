from pathlib import Path

from icsd.images import Drawing, KeptPictures, generate_images, load_generator
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    resources = snakemake.resources
    generate_images(
        Path(snakemake.input.sentences),
        Path(snakemake.output.images),
        Path(snakemake.output.contact_sheet),
        Drawing(**snakemake.params.settings),
        resources.batch_size,
        KeptPictures(Path(resources.store), resources.run),
        load_generator(compiled=bool(resources.compiled)),
        snakemake.wildcards.shard,
    )
