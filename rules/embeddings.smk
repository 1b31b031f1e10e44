# embeddings: captions -> one unit vector a caption
#
# in:  <results>/captions/all.parquet        CAPTIONS, a row group a shard
# out: <results>/embeddings/{shard}.parquet  EMBEDDINGS: float32, length 1, the same for any shard count and batch size;
#                                            what encoder made them stands in the file's metadata
#      <results>/embeddings/all.parquet      EMBEDDINGS of all shards, for jobs of which each needs them all; without
#                                            captions that the guard drops
#      <results>/embeddings/references/{split}.parquet  EMBEDDINGS of <results>/pictures/{split}/captions.parquet, where
#                                            the guard compares vectors


rule embed_captions:
    input:
        captions="<results>/captions/all.parquet",
        model=model_input(cfg.embeddings.model),
    output:
        embeddings="<results>/embeddings/{shard}.parquet",
    params:
        revision=REVISIONS["embeddings"],
        encoder=cfg.embeddings.params(),
    log:
        "<results>/logs/embed_captions/{shard}.log",
    benchmark:
        "<results>/benchmarks/embed_captions/{shard}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(15, "captions", rate=cfg.estimate.embeddings_per_second, parts=cfg.shards),
        gpu={"cpu": 0, "auto": jobs.gpu, "cuda": 1}[cfg.embeddings.device],
    script:
        "../scripts/embed_captions.py"


use rule embed_captions as embed_references with:
    input:
        captions="<results>/pictures/{split}/captions.parquet",
        model=model_input(cfg.embeddings.model),
    output:
        embeddings="<results>/embeddings/references/{split}.parquet",
    wildcard_constraints:
        split="|".join(cfg.pictures.references),
    log:
        "<results>/logs/embed_references/{split}.log",
    benchmark:
        "<results>/benchmarks/embed_references/{split}.tsv"
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(15, "captions", rate=cfg.estimate.embeddings_per_second),
        gpu={"cpu": 0, "auto": jobs.gpu, "cuda": 1}[cfg.embeddings.device],


# one file more, and not an edge from every shard to every job: a thousand shards would be a million edges
rule gather_embeddings:
    input:
        embeddings=collect("<results>/embeddings/{shard}.parquet", shard=SHARDS),
        kept=KEPT if cfg.guard.drops else [],
    output:
        embeddings="<results>/embeddings/all.parquet",
    params:
        revision=REVISIONS["embeddings"],
    log:
        "<results>/logs/gather_embeddings.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(1000, most={"embeddings": SEARCHED_BYTES}, embeddings=5),  # a shard at once
        runtime=jobs.minutes(30),
    script:
        "../scripts/gather_embeddings.py"
