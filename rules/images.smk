# images: what each arm draws, and a picture of it
#
# in:  <results>/summaries/{shard}.parquet             SUMMARIES, all shards
#      <results>/captions/all.parquet                  CAPTIONS
#      <results>/dataset/multi/pairs.parquet           PAIRS: for arms that draw the captions of these
# out: <results>/images/{arm}/sentences.parquet        SENTENCES: what to draw, in the shard of the image's id; a row
#                                                      group a shard
#      <results>/images/{arm}/{shard}.parquet          IMAGES
#      <results>/images/{arm}/{shard}.png              a contact sheet of the shard's first pictures
# own: results/drawn/                                  each picture under the hash of all that determined it, so that
#      a killed or changed run draws only what is new (config: images.store), shared by runs. No output, since
#      Snakemake deletes those of a killed job. Deleting it costs time.


rule select_sentences:
    input:
        summaries=collect("<results>/summaries/{shard}.parquet", shard=SHARDS),
        captions="<results>/captions/all.parquet",
    output:
        sentences="<results>/images/{arm}/sentences.parquet",
    wildcard_constraints:
        arm=arms_where(lambda arm: arm.sentences in ("summaries", "captions")),
    params:
        revision=REVISIONS["images"],
        shards=cfg.shards,
        max_summaries=cfg.images.max_summaries,
        spare=lambda wildcards: cfg.images.spare if ARMS[wildcards.arm].sentences == "captions" else 0,
        seed=cfg.images.seed,
    log:
        "<results>/logs/select_sentences/{arm}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/select_sentences.py"


rule select_matched_sentences:
    input:
        pairs=f"<results>/dataset/{METHOD}/pairs.parquet",
        captions="<results>/captions/all.parquet",
    output:
        sentences="<results>/images/{arm}/sentences.parquet",
    wildcard_constraints:
        arm=arms_where(lambda arm: arm.sentences == "pairs"),
    params:
        revision=REVISIONS["images"],
        shards=cfg.shards,
        seed=cfg.images.seed,
    log:
        "<results>/logs/select_matched_sentences/{arm}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/select_matched_sentences.py"


rule generate_images:
    input:
        sentences="<results>/images/{arm}/sentences.parquet",
        model=model_input(cfg.images.model),
    output:
        images="<results>/images/{arm}/{shard}.parquet",
        contact_sheet="<results>/images/{arm}/{shard}.png",
    wildcard_constraints:
        arm=arms_where(lambda arm: arm.sentences),
    params:
        revision=REVISIONS["images"],
        settings=cfg.images.params(without=("max_summaries", "spare", "seed")),
    log:
        "<results>/logs/generate_images/{arm}/{shard}.log",
    benchmark:
        "<results>/benchmarks/generate_images/{arm}/{shard}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(8000),
        runtime=jobs.minutes(20, "sentences", rate=cfg.estimate.images_per_second, parts=cfg.shards),
        gpu=0,
    script:
        "../scripts/generate_images.py"
