# summaries: groups -> the captions of each that can describe one scene, condensed into one sentence
#
# in:  <results>/groups/all.parquet         GROUPS, a row group a shard
#      <results>/captions/all.parquet       CAPTIONS: members of a group lie anywhere
#      config/prompts/<name>.txt, .yaml     the prompt that summaries.prompt names, and what its answers must be
# out: <results>/summaries/{shard}.parquet  SUMMARIES: a row for every group, dropped ones with their reason
#      <results>/prompts/{prompt}/{shard}.parquet   SUMMARIES of each prompt of summaries.prompts } `snakemake
#      <results>/prompts/comparison.parquet, .md    PROMPTS: those side by side                   } compare_prompts`
# own: results/replies/                     all that models answered (config: summaries.store), shared by runs, so that
#                                           nothing is paid twice; no output, since Snakemake deletes those of a killed
#                                           job. Deleting it costs money. Its folder batches/ has what the Batch API
#                                           was given and has not answered yet.
#      <results>/budget/                    what jobs have reserved of summaries.budget_usd


rule summarize_groups:
    input:
        groups="<results>/groups/all.parquet",
        captions="<results>/captions/all.parquet",
        prompt=shipped(f"config/prompts/{cfg.summaries.prompt}.txt"),
        rules=shipped(f"config/prompts/{cfg.summaries.prompt}.yaml"),
        models=model_input(*cfg.summaries.models),
    output:
        summaries="<results>/summaries/{shard}.parquet",
    params:
        **LANGUAGE,
        revision=REVISIONS["summaries"],
        settings=cfg.summaries.params(without=("prompt", "prompts")),
    log:
        "<results>/logs/summarize_groups/{shard}.log",
    benchmark:
        "<results>/benchmarks/summarize_groups/{shard}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(cfg.summaries.memory_mb),
        runtime=jobs.minutes(cfg.summaries.minutes, "groups", rate=cfg.summaries.rate(cfg.estimate), parts=cfg.shards),
        gpu=cfg.summaries.gpus,
        llm_requests=cfg.summaries.llm_requests,
    script:
        "../scripts/summarize_groups.py"


use rule summarize_groups as summarize_by_prompt with:
    input:
        groups="<results>/groups/all.parquet",
        captions="<results>/captions/all.parquet",
        prompt=lambda wildcards: shipped(f"config/prompts/{wildcards.prompt}.txt"),
        rules=lambda wildcards: shipped(f"config/prompts/{wildcards.prompt}.yaml"),
        models=model_input(*cfg.summaries.models),
    output:
        summaries="<results>/prompts/{prompt}/{shard}.parquet",
    log:
        "<results>/logs/summarize_by_prompt/{prompt}/{shard}.log",
    benchmark:
        "<results>/benchmarks/summarize_by_prompt/{prompt}/{shard}.tsv"
    resources:
        mem_mb=jobs.memory(cfg.summaries.memory_mb),
        runtime=jobs.minutes(cfg.summaries.minutes, "groups", rate=cfg.summaries.rate(cfg.estimate), parts=cfg.shards),
        gpu=cfg.summaries.gpus,
        llm_requests=cfg.summaries.llm_requests,


rule compare_prompts:
    input:
        summaries=collect("<results>/prompts/{prompt}/{shard}.parquet", prompt=cfg.summaries.prompts, shard=SHARDS),
    output:
        comparison="<results>/prompts/comparison.parquet",
        page="<results>/prompts/comparison.md",
    params:
        **LANGUAGE,
        revision=REVISIONS["summaries"],
        prompts=cfg.summaries.prompts,
    log:
        "<results>/logs/compare_prompts.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(10),
    script:
        "../scripts/compare_prompts.py"
