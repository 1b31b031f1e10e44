# pictures: real photographs with their captions, as a corpus publishes them
#
# in:  config: pictures.<split>.annotations     COCO annotation JSON
#      config: pictures.<split>.images          the folder with the files that it names
# out: <results>/pictures/{split}/images.parquet    IMAGES: the files as they are, ids "real-<id>"
#      <results>/pictures/{split}/captions.parquet  CAPTIONS


rule read_pictures:
    input:
        annotations=lambda wildcards: getattr(cfg.pictures, wildcards.split).annotations,
        folder=lambda wildcards: getattr(cfg.pictures, wildcards.split).images,
    output:
        images="<results>/pictures/{split}/images.parquet",
        captions="<results>/pictures/{split}/captions.parquet",
    wildcard_constraints:
        split="real|val|test",
    params:
        revision=REVISIONS["pictures"],
    log:
        "<results>/logs/read_pictures/{split}.log",
    benchmark:
        "<results>/benchmarks/read_pictures/{split}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    script:
        "../scripts/read_pictures.py"
