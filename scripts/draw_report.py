from pathlib import Path

from icsd.core.logs import job_log
from icsd.views.report.drawing import draw_report
from icsd.views.report.run import Run

with job_log(snakemake.log[0]):
    resources = snakemake.resources
    draw_report(
        Run.of(resources.results, resources.config),
        Path(resources.prompt),
        Path(snakemake.output.state).parent,
        snakemake.params.finished,
    )
