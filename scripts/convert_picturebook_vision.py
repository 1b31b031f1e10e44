from pathlib import Path

from icsd.core.logs import job_log
from icsd.picturebook.clip import save_vision_model

with job_log(snakemake.log[0]):
    save_vision_model(Path(snakemake.input.clip), Path(snakemake.output.vision))
