# captions: a corpus as published -> shards
#
# in:  config: captions.annotations        a file, or several that are joined, of a layout of src/icsd/corpora/
# out: <results>/captions/{shard}.parquet  CAPTIONS, each in the shard that a stable hash of its id names
#      <results>/captions/all.parquet      CAPTIONS of all shards, for jobs of which each needs them all


rule read_captions:
    input:
        annotations=cfg.captions.paths,
    output:
        captions=collect("<results>/captions/{shard}.parquet", shard=SHARDS),
    params:
        revision=REVISIONS["captions"],
        corpus=cfg.captions.deciding(),
        max_characters=cfg.captions.max_characters,
    log:
        "<results>/logs/read_captions.log",
    benchmark:
        "<results>/benchmarks/read_captions.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    script:
        "../scripts/read_captions.py"


# one file more, and not an edge from every shard to every job: a thousand shards would be a million edges
rule gather_captions:
    input:
        captions=collect("<results>/captions/{shard}.parquet", shard=SHARDS),
    output:
        captions="<results>/captions/all.parquet",
    params:
        revision=REVISIONS["captions"],
    log:
        "<results>/logs/gather_captions.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    script:
        "../scripts/gather_captions.py"
