# safety: which pictures may be used
#
# in:  <results>/images/{drawing}/{shard}.parquet  IMAGES
# out: <results>/safety/{drawing}/{shard}.parquet  SAFETY: the checker's score, and safe, unsafe or blank


rule check_safety:
    input:
        images="<results>/images/{drawing}/{shard}.parquet",
        model=model_input(cfg.safety.model or cfg.images.model),
    output:
        safety="<results>/safety/{drawing}/{shard}.parquet",
    wildcard_constraints:
        drawing=DRAWN,
    params:
        revision=REVISIONS["safety"],
        model=cfg.safety.model or cfg.images.model,
        blank_std=cfg.safety.blank_std,
    log:
        "<results>/logs/check_safety/{drawing}/{shard}.log",
    benchmark:
        "<results>/benchmarks/check_safety/{drawing}/{shard}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(15, "images", rate=cfg.estimate.checks_per_second),
        gpu=jobs.gpu,
    script:
        "../scripts/check_safety.py"
