from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.stages.images import draw_images

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    sentences, output = Path(snakemake.input.sentences), snakemake.output
    images, contact_sheet = Path(output.images), Path(output.contact_sheet)
    config, settings = job_config(snakemake), snakemake.params.settings
    draw_images(
        sentences, images, contact_sheet, settings, config.images, Path(config.results), snakemake.wildcards.shard
    )
