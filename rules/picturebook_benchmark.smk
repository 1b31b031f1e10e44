# picturebook_benchmark: what the small models can do, and the measures by which runs of the claim are compared
#
# in:  resources/picturebook/{clip,stable-diffusion,probe}/               the models as they are shipped
#      <results>/evaluation/{arm}/seed-{seed}/{test}/predictions.parquet  PREDICTIONS of all arms and seeds
#      <results>/captioner/{arm}/seed-{seed}/history.parquet              HISTORY: their scores on val
#      <results>/dataset/{arm}/pairs.parquet, <results>/images/           PAIRS and their IMAGES
#      <results>/alignment/{arm}/{shard}.parquet                          ALIGNMENT, where pairs have scores
#      <results>/pictures/{test}/{images,captions}.parquet                IMAGES, CAPTIONS of pictures.test
# out: results/benchmark/picturebook/quality.parquet, quality.md, drawn.png  QUALITY, its page, and pictures drawn for it
#      <results>/benchmark/arms/{arm}.parquet                             QUALITY: an arm's sizes, pairs and score on val
#      <results>/benchmark/counts.parquet                                 CAPTION_COUNTS of all captioners
#      <results>/benchmark/test.parquet                                   QUALITY of the test pictures' captions
#      <results>/benchmark/alignment.parquet, alignment.md                QUALITY of the scores of pairs, and its page
#      <results>/alignment/{drawing}/{shard}.parquet                      ALIGNMENT, with alignment.score=probe
#
# `make benchmark NAME=picturebook` runs the first, `make benchmark NAME=claim` the others for several drawings and
# settings, and compares them.


rule measure_picturebook:
    input:
        clip=shipped("resources/picturebook/clip"),
        pipeline=shipped("resources/picturebook/stable-diffusion"),
        probe=shipped("resources/picturebook/probe"),
    output:
        table="results/benchmark/picturebook/quality.parquet",
        page="results/benchmark/picturebook/quality.md",
        sheet="results/benchmark/picturebook/drawn.png",
    params:
        revision=REVISIONS["picturebook_benchmark"],
        drawing=cfg.images.params("steps", "guidance_scale"),
    log:
        "results/benchmark/picturebook/logs/measure_picturebook.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(60),
        gpu=jobs.gpu,
    script:
        "../scripts/measure_picturebook.py"


rule measure_picturebook_arm:
    input:
        pairs="<results>/dataset/{arm}/pairs.parquet",
        images=arm_images,
        histories=expand("<results>/captioner/{{arm}}/seed-{seed}/history.parquet", seed=cfg.captioner.seeds),
        probe=shipped("resources/picturebook/probe"),
    output:
        table="<results>/benchmark/arms/{arm}.parquet",
    params:
        revision=REVISIONS["picturebook_benchmark"],
    log:
        "<results>/logs/measure_picturebook_arm/{arm}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(3000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/measure_picturebook_arm.py"


rule count_picturebook_captions:
    input:
        predictions=expand(
            "<results>/evaluation/{arm}/seed-{seed}/{test}/predictions.parquet",
            arm=cfg.arms,
            seed=cfg.captioner.seeds,
            test=cfg.pictures.test.name,
        ),
        images=f"<results>/pictures/{cfg.pictures.test.name}/images.parquet",
        captions=f"<results>/pictures/{cfg.pictures.test.name}/captions.parquet",
        probe=shipped("resources/picturebook/probe"),
    output:
        counts="<results>/benchmark/counts.parquet",
        quality="<results>/benchmark/test.parquet",
    params:
        revision=REVISIONS["picturebook_benchmark"],
        arms=cfg.arms,
        seeds=cfg.captioner.seeds,
    log:
        "<results>/logs/count_picturebook_captions.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(3000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/count_picturebook_captions.py"


if cfg.alignment.score == "probe":

    rule score_picturebook_pairs:
        input:
            sentences="<results>/images/{drawing}/sentences.parquet",
            images="<results>/images/{drawing}/{shard}.parquet",
            captions="<results>/captions/all.parquet",
            probe=shipped("resources/picturebook/probe"),
        output:
            alignment="<results>/alignment/{drawing}/{shard}.parquet",
        wildcard_constraints:
            drawing=DRAWN,
        params:
            revision=REVISIONS["picturebook_benchmark"],
        log:
            "<results>/logs/score_picturebook_pairs/{drawing}/{shard}.log",
        conda:
            "../envs/icsd.yaml"
        threads: 1
        resources:
            mem_mb=jobs.memory(3000),
            runtime=jobs.minutes(30),
        script:
            "../scripts/score_picturebook_pairs.py"


rule measure_picturebook_alignment:
    input:
        alignment=collect("<results>/alignment/{arm}/{shard}.parquet", arm=cfg.drawn_arms, shard=SHARDS),
        sentences=collect("<results>/images/{arm}/sentences.parquet", arm=cfg.drawn_arms),
        images=collect("<results>/images/{arm}/{shard}.parquet", arm=cfg.drawn_arms, shard=SHARDS),
        captions="<results>/captions/all.parquet",
        probe=shipped("resources/picturebook/probe"),
    output:
        table="<results>/benchmark/alignment.parquet",
        page="<results>/benchmark/alignment.md",
    params:
        revision=REVISIONS["picturebook_benchmark"],
        score=cfg.alignment.score,
    log:
        "<results>/logs/measure_picturebook_alignment.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(3000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/measure_picturebook_alignment.py"


rule picturebook_claim:
    input:
        "<results>/benchmark/alignment.md" if cfg.alignment.scores else [],
        "<results>/benchmark/counts.parquet",
        expand("<results>/benchmark/arms/{arm}.parquet", arm=cfg.arms),
        "<results>/evaluation/scores.md",
