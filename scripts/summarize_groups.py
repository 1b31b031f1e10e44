from pathlib import Path

from icsd.config import SummariesConfig
from icsd.core.logs import job_log
from icsd.stages.summaries import summarize_groups

with job_log(snakemake.log[0]):
    groups, captions = Path(snakemake.input.groups), Path(snakemake.input.captions)
    prompt, summaries = Path(snakemake.input.prompt), Path(snakemake.output.summaries)
    config = SummariesConfig.joined(snakemake.params.settings, snakemake.resources.runtime_settings)
    results, shard = Path(snakemake.resources.results), snakemake.wildcards.shard
    summarize_groups(groups, captions, prompt, summaries, config, results, shard)
