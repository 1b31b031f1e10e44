from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.llm.budget import Prices
from icsd.stages.summaries.comparison import compare_prompts

with job_log(snakemake.log[0]):
    paths = [Path(path) for path in snakemake.input.get("summaries", [])]
    config = job_config(snakemake)
    endpoint, language = config.summaries.openai, config.captions.language
    prices = Prices(endpoint.prompt_usd_per_million, endpoint.completion_usd_per_million)
    shards = {name: [path for path in paths if path.parent.name == name] for name in snakemake.params.prompts}
    comparison, page = Path(snakemake.output.comparison), Path(snakemake.output.page)
    compare_prompts(shards, prices, comparison, page, language)
