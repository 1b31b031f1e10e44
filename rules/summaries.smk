# summaries: groups -> the captions of each that can describe one scene, condensed into one sentence
#
# in:  <results>/groups/{shard}.parquet     GROUPS
#      <results>/captions/all.parquet       CAPTIONS: members of a group lie anywhere
#      config: summaries.prompt             the prompt file; editing it reruns summaries and what follows
# out: <results>/summaries/{shard}.parquet  SUMMARIES: a row for every group, dropped ones with their reason
# own: results/replies/                     all that models answered (config: summaries.store), shared by runs, so that
#                                           nothing is paid twice; no output, since Snakemake deletes those of a killed
#                                           job. Deleting it costs money.
#      <results>/budget/                    what jobs have reserved of summaries.budget_usd


rule summarize_groups:
    input:
        groups="<results>/groups/{shard}.parquet",
        captions="<results>/captions/all.parquet",
        prompt=cfg.summaries.prompt,
    output:
        summaries="<results>/summaries/{shard}.parquet",
    params:
        revision=REVISIONS["summaries"],
        settings=cfg.summaries.deciding(),
    log:
        "<results>/logs/summarize_groups/{shard}.log",
    benchmark:
        "<results>/benchmarks/summarize_groups/{shard}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        llm_requests=cfg.summaries.llm_requests,
        runtime_settings=cfg.summaries.runtime(),
    script:
        "../scripts/summarize_groups.py"
