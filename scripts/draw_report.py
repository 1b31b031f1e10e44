from pathlib import Path

from icsd.config import job_config, shipped_path
from icsd.core.logs import job_log
from icsd.views.report import draw_report

with job_log(snakemake.log[0]):
    config = job_config(snakemake)
    prompt = shipped_path(f"config/prompts/{config.summaries.prompt}.txt", Path(snakemake.scriptdir).parent)
    draw_report(
        config,
        Path(prompt),
        Path(config.results),
        Path(snakemake.output.state).parent,
        snakemake.params.finished,
    )
