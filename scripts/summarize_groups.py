from pathlib import Path

from icsd.config import SummariesConfig
from icsd.logs import job_log
from icsd.summaries import summarize_groups

with job_log(snakemake.log[0]):
    captions = [Path(path) for path in snakemake.input.captions]
    groups, prompt, summaries = snakemake.input.groups, snakemake.input.prompt, snakemake.output.summaries
    config = SummariesConfig.decided(snakemake.params.settings, snakemake.resources)
    summarize_groups(Path(groups), captions, Path(prompt), Path(summaries), config)
