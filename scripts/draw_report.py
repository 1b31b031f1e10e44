from pathlib import Path

from icsd.logs import job_log
from icsd.report.drawing import draw_report
from icsd.report.run import Run

with job_log(snakemake.log[0]):
    resources = snakemake.resources
    draw_report(
        Run.of(resources.results, resources.config),
        Path(resources.prompt),
        Path(snakemake.output.state).parent,
        snakemake.params.finished,
    )
