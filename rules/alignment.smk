# alignment: how well each picture shows its sentence and its captions
#
# in:  <results>/images/{drawing}/sentences.parquet        SENTENCES, a row group a shard
#      <results>/images/{drawing}/{shard}.parquet          IMAGES, not for alignment.score=random
#      <results>/captions/all.parquet                      CAPTIONS
# out: <results>/alignment/{drawing}/{shard}.parquet       ALIGNMENT: a score for each pair, and for the sentence
#
# and with alignment.rematch, for captions that their own pictures do not show:
#      <results>/alignment/{drawing}/vectors/{shard}.parquet  CLIP_VECTORS of pictures and captions
#      <results>/alignment/{arm}/pictures.parquet             CLIP_VECTORS of all pictures of the arm
#      <results>/alignment/{arm}/matches/{shard}.parquet      ALIGNMENT: each caption and its nearest pictures of the arm
#
# What is dropped for its score is decided by the dataset: another threshold scores nothing again.


MATCHED = SHARDS if cfg.alignment.rematch else []
VECTORS = {"vectors": "<results>/alignment/{drawing}/vectors/{shard}.parquet"} if MATCHED else {}


# with alignment.score=probe another rule writes these tables, for a benchmark
if cfg.alignment.score == "cosine":

    rule score_alignment:
        input:
            sentences="<results>/images/{drawing}/sentences.parquet",
            images="<results>/images/{drawing}/{shard}.parquet",
            captions="<results>/captions/all.parquet",
            model=model_input(cfg.alignment.model),
        output:
            **VECTORS,
            alignment="<results>/alignment/{drawing}/{shard}.parquet",
        wildcard_constraints:
            drawing=DRAWN,
        params:
            revision=REVISIONS["alignment"],
            scorer=cfg.alignment.scorer,
        log:
            "<results>/logs/score_alignment/{drawing}/{shard}.log",
        benchmark:
            "<results>/benchmarks/score_alignment/{drawing}/{shard}.tsv"
        conda:
            "../envs/icsd.yaml"
        threads: 1
        resources:
            mem_mb=jobs.memory(4000),
            runtime=jobs.minutes(15, "images", rate=cfg.estimate.alignments_per_second),
            gpu=jobs.gpu,
        script:
            "../scripts/score_alignment.py"


# a rule of its own, since it waits for no image and asks for no GPU
if cfg.alignment.score == "random":

    rule score_at_random:
        input:
            sentences="<results>/images/{drawing}/sentences.parquet",
            captions="<results>/captions/all.parquet",
        output:
            alignment="<results>/alignment/{drawing}/{shard}.parquet",
        wildcard_constraints:
            drawing=DRAWN,
        params:
            revision=REVISIONS["alignment"],
            scorer=cfg.alignment.scorer,
        log:
            "<results>/logs/score_at_random/{drawing}/{shard}.log",
        benchmark:
            "<results>/benchmarks/score_at_random/{drawing}/{shard}.tsv"
        conda:
            "../envs/icsd.yaml"
        threads: 1
        resources:
            mem_mb=jobs.memory(2000),
            runtime=jobs.minutes(15),
        script:
            "../scripts/score_at_random.py"


# one file more, and not an edge from every shard to every job
rule gather_picture_vectors:
    input:
        vectors=lambda wildcards: collect(
            "<results>/alignment/{drawing}/vectors/{shard}.parquet",
            drawing=cfg.drawings(wildcards.arm),
            shard=SHARDS,
        ),
    output:
        pictures="<results>/alignment/{arm}/pictures.parquet",
    params:
        revision=REVISIONS["alignment"],
    log:
        "<results>/logs/gather_picture_vectors/{arm}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(1000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/gather_picture_vectors.py"


rule match_captions:
    input:
        shard="<results>/alignment/{arm}/vectors/{shard}.parquet",
        pictures="<results>/alignment/{arm}/pictures.parquet",
    output:
        matches="<results>/alignment/{arm}/matches/{shard}.parquet",
    params:
        revision=REVISIONS["alignment"],
        k=cfg.alignment.rematch * cfg.images.candidates,  # of a sentence's candidates one is used
    log:
        "<results>/logs/match_captions/{arm}/{shard}.log",
    benchmark:
        "<results>/benchmarks/match_captions/{arm}/{shard}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(1500, pictures=5),
        runtime=jobs.minutes(15, "shard", "pictures", rate=cfg.estimate.comparisons_per_second),
        gpu=jobs.gpu,
    script:
        "../scripts/match_captions.py"
