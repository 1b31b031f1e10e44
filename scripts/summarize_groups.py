from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.stages.summaries import summarize_groups

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    groups, captions = Path(snakemake.input.groups), Path(snakemake.input.captions)
    prompt, summaries = Path(snakemake.input.prompt), Path(snakemake.output.summaries)
    config, wildcards = job_config(snakemake), snakemake.wildcards
    # of prompts that are compared, one whose answers are dropped is a result
    limit = {"max_drop_share": 1.0} if wildcards.get("prompt") else {}
    language = config.captions.language
    settings = config.summaries.model_copy(update=limit)
    summarize_groups(groups, captions, prompt, summaries, settings, Path(config.results), wildcards.shard, language)
