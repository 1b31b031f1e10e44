from pathlib import Path

from icsd.core.logs import job_log
from icsd.picturebook.quality import DrawingSettings, measure_quality

with job_log(snakemake.log[0]):
    folders = (Path(snakemake.input[name]) for name in ("clip", "pipeline", "probe"))
    files = (Path(snakemake.output[name]) for name in ("table", "page", "sheet"))
    measure_quality(*folders, DrawingSettings(**snakemake.params.drawing), *files)
