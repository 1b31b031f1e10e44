# pictures: real photographs with their captions, as a corpus publishes them
#
# in:  config: pictures.<split>.annotations         a file, or several that are joined, of a layout of src/icsd/corpora/
#      config: pictures.<split>.images              the folder with the files that it names, where it does
# out: <results>/pictures/{split}/images.parquet    IMAGES: the files as they are, ids "real-<id>"
#      <results>/pictures/{split}/captions.parquet  CAPTIONS of those pictures
#      <results>/pictures/{split}/domains.parquet   DOMAINS: of the pictures that have one, as NoCaps' have
#      <results>/pictures/{split}/ledger.parquet    LEDGER: the pictures kept, and those that cannot be read or decoded
#      <results>/pictures/{split}/dropped.parquet   LEDGER of records that cannot be used, only where there are any
#
# A split is real, val, or the name of a test set.


rule read_pictures:
    input:
        annotations=lambda wildcards: cfg.pictures.splits[wildcards.split].paths,
        folder=lambda wildcards: cfg.pictures.splits[wildcards.split].folders,
    output:
        images="<results>/pictures/{split}/images.parquet",
        captions="<results>/pictures/{split}/captions.parquet",
        domains="<results>/pictures/{split}/domains.parquet",
        ledger="<results>/pictures/{split}/ledger.parquet",
    wildcard_constraints:
        split="|".join(cfg.pictures.splits),
    params:
        revision=REVISIONS["pictures"],
        corpus=lambda wildcards: cfg.pictures.splits[wildcards.split].reading() | cfg.captions.params("max_drop_share"),
        max_drop_share=cfg.pictures.max_drop_share,
    log:
        "<results>/logs/read_pictures/{split}.log",
    benchmark:
        "<results>/benchmarks/read_pictures/{split}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(60),
    script:
        "../scripts/read_pictures.py"
