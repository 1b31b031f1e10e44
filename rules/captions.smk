# captions: a corpus as published -> a table
#
# in:  config: captions.annotations        a file, or several that are joined, of a layout of src/icsd/corpora/
# out: <results>/captions/all.parquet      CAPTIONS, each in the shard that a stable hash of its id names; a row group a shard
#      <results>/captions/dropped.parquet    LEDGER of records that cannot be used, only where there are any; no job reads it


rule read_captions:
    input:
        annotations=cfg.captions.paths,
    output:
        captions="<results>/captions/all.parquet",
    params:
        revision=REVISIONS["captions"],
        shards=cfg.shards,
        corpus=cfg.captions.reading(),
        max_characters=cfg.captions.max_characters,
    log:
        "<results>/logs/read_captions.log",
    benchmark:
        "<results>/benchmarks/read_captions.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/read_captions.py"
