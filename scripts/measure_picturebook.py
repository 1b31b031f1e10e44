from pathlib import Path

from icsd.core.logs import job_log

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    from icsd.picturebook.quality import DrawingSettings, measure_quality

    folders = (Path(snakemake.input[name]) for name in ("clip", "pipeline", "probe"))
    files = (Path(snakemake.output[name]) for name in ("table", "page", "sheet"))
    measure_quality(*folders, DrawingSettings(**snakemake.params.drawing), *files)
