# groups: embeddings -> each caption with its nearest captions, equal groups once, by groups.dedupe
#
# in:  <results>/embeddings/{shard,all}.parquet    EMBEDDINGS
# out: <results>/groups/neighbors/{shard}.parquet  NEIGHBORS: the k nearest of the captions of a part of the shards
#                                                  among all; parts are the shards, or groups.jobs if that is less
#      <results>/groups/all.parquet                GROUPS, in the shard of the anchor caption's id; a row group a shard
#      <results>/groups/group_times.parquet        GROUP_TIMES: how many groups each caption is in
#      <results>/groups/ledger.parquet             LEDGER: all groups, and why they were dropped; with min_similarity,
#                                                  max_overlap or limit of groups
#
# and with groups.index ivf or hnsw, for corpora too large to compare all with all:
#      <results>/groups/index.faiss                the index of all captions, which proposes the neighbours
#      <results>/groups/recall.json                how many of the exact nearest it finds


INDEX = "<results>/groups/index.faiss" if cfg.groups.approximate else []
# bytes of vectors in memory at once: all where an index proposes the neighbours
SEARCHED = {} if cfg.groups.approximate else {"embeddings": SEARCHED_BYTES}
RECALL = "<results>/groups/recall.json" if cfg.groups.approximate else []


rule find_neighbors:
    input:
        shards=lambda wildcards: collect(
            "<results>/embeddings/{shard}.parquet", shard=shards_of_part(SHARDS, wildcards.shard)
        ),
        embeddings="<results>/embeddings/all.parquet",
        index=INDEX,
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
        mem_mb=jobs.memory(1500, most=SEARCHED, shards=5, embeddings=5, index=1),
        runtime=jobs.minutes(15, "shards", "embeddings", rate=cfg.estimate.comparisons_per_second),
        gpu=jobs.gpu,
    script:
        "../scripts/find_neighbors.py"


rule index_captions:
    input:
        embeddings="<results>/embeddings/all.parquet",
    output:
        index="<results>/groups/index.faiss",
    params:
        revision=REVISIONS["groups"],
        kind=cfg.groups.index,
        settings=cfg.groups.approximate,
    log:
        "<results>/logs/index_captions.log",
    benchmark:
        "<results>/benchmarks/index_captions.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(1500, embeddings=5),
        runtime=jobs.minutes(240),
    script:
        "../scripts/index_captions.py"


rule measure_recall:
    input:
        embeddings="<results>/embeddings/all.parquet",
        index="<results>/groups/index.faiss",
    output:
        recall="<results>/groups/recall.json",
    params:
        revision=REVISIONS["groups"],
        k=cfg.groups.k,
        queries=cfg.groups.recall_queries,
        about={"index": cfg.groups.index, **(cfg.groups.approximate or {})},
    log:
        "<results>/logs/measure_recall.log",
    benchmark:
        "<results>/benchmarks/measure_recall.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(1500, embeddings=5, index=1),
        runtime=jobs.minutes(60),
        gpu=jobs.gpu,
    script:
        "../scripts/measure_recall.py"


rule form_groups:
    input:
        neighbors=collect("<results>/groups/neighbors/{shard}.parquet", shard=cfg.search_parts),
    output:
        **({"ledger": "<results>/groups/ledger.parquet"} if cfg.groups.drops else {}),
        groups="<results>/groups/all.parquet",
        group_times="<results>/groups/group_times.parquet",
    params:
        **cfg.groups.params("dedupe", "min_similarity", "max_overlap", "limit", "limit_seed"),
        revision=REVISIONS["groups"],
        shards=cfg.shards,
    log:
        "<results>/logs/form_groups.log",
    benchmark:
        "<results>/benchmarks/form_groups.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(1000, neighbors=8 if cfg.groups.max_overlap is None else 16),
        runtime=jobs.minutes(30),
    script:
        "../scripts/form_groups.py"
