# groups: embeddings -> each caption with its nearest captions, identical sets kept once
#
# in:  <results>/embeddings/{shard,all}.parquet    EMBEDDINGS
# out: <results>/groups/neighbors/{shard}.parquet  NEIGHBORS: the k nearest of the shard's captions among all
#      <results>/groups/{shard}.parquet            GROUPS, in the shard of the head caption's id
#      <results>/groups/group_times.parquet        GROUP_TIMES: how many groups each caption is in


rule find_neighbors:
    input:
        shard="<results>/embeddings/{shard}.parquet",
        embeddings="<results>/embeddings/all.parquet",
    output:
        neighbors="<results>/groups/neighbors/{shard}.parquet",
    params:
        revision=REVISIONS["groups"],
        k=cfg.groups.k,
    log:
        "<results>/logs/find_neighbors/{shard}.log",
    benchmark:
        "<results>/benchmarks/find_neighbors/{shard}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    script:
        "../scripts/find_neighbors.py"


rule form_groups:
    input:
        neighbors=collect("<results>/groups/neighbors/{shard}.parquet", shard=SHARDS),
    output:
        groups=collect("<results>/groups/{shard}.parquet", shard=SHARDS),
        group_times="<results>/groups/group_times.parquet",
    params:
        revision=REVISIONS["groups"],
    log:
        "<results>/logs/form_groups.log",
    benchmark:
        "<results>/benchmarks/form_groups.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    script:
        "../scripts/form_groups.py"
