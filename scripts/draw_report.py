import json
from pathlib import Path

from icsd.config import load_config
from icsd.core.logs import job_log
from icsd.views.report import draw_report

with job_log(snakemake.log[0]):
    resources = snakemake.resources
    draw_report(
        load_config(json.loads(resources.config)),
        Path(resources.prompt),
        Path(resources.results),
        Path(snakemake.output.state).parent,
        snakemake.params.finished,
    )
