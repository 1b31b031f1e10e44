from pathlib import Path

from icsd.core.logs import job_log
from icsd.picturebook.generator import PipelineParts, assemble_pipeline

with job_log(snakemake.log[0]):
    trained, unet = snakemake.input, Path(snakemake.input.unet)
    parts = PipelineParts(
        autoencoder=Path(trained.autoencoder),
        unet=unet / "unet",
        text_encoder=unet / "text_encoder",  # trained on with the UNet
        tokenizer=Path(trained.tokenizer),
        safety_checker=Path(trained.safety_checker),
    )
    assemble_pipeline(Path(snakemake.output.pipeline), parts)
