# picturebook_benchmark: what the small models can do, and whether many contexts beat one
#
# in:  resources/picturebook/{clip,stable-diffusion,probe}/               the models as they are shipped
#      <results>/evaluation/{arm}/seed-{seed}/{test}/predictions.parquet  PREDICTIONS of all arms and seeds
#      <results>/dataset/{arm}/pairs.parquet, <results>/images/           PAIRS and their IMAGES
#      <results>/pictures/{test}/{images,captions}.parquet                IMAGES, CAPTIONS of pictures.test
# out: results/benchmark/picturebook/quality.parquet, quality.md, drawn.png  QUALITY, its page, and pictures drawn for it
#      <results>/benchmark/pairs/{arm}.parquet                            QUALITY of an arm's training pairs
#      <results>/benchmark/claim.parquet, claim.md                        SCORES by the probe, and the arms compared
#
# `make benchmark NAME=picturebook` runs both, the second with config/runs/claim.yaml, and puts the pages into the documents.


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
        gpu=0,
    script:
        "../scripts/measure_picturebook.py"


rule measure_picturebook_pairs:
    input:
        pairs="<results>/dataset/{arm}/pairs.parquet",
        images=arm_images,
        probe=shipped("resources/picturebook/probe"),
    output:
        table="<results>/benchmark/pairs/{arm}.parquet",
    params:
        revision=REVISIONS["picturebook_benchmark"],
    log:
        "<results>/logs/measure_picturebook_pairs/{arm}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(3000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/measure_picturebook_pairs.py"


rule measure_picturebook_claim:
    input:
        predictions=expand(
            "<results>/evaluation/{arm}/seed-{seed}/{test}/predictions.parquet",
            arm=cfg.arms,
            seed=cfg.captioner.seeds,
            test=cfg.pictures.test.name,
        ),
        pairs=expand("<results>/dataset/{arm}/pairs.parquet", arm=cfg.arms),
        probed_pairs=expand("<results>/benchmark/pairs/{arm}.parquet", arm=cfg.arms),
        images=f"<results>/pictures/{cfg.pictures.test.name}/images.parquet",
        captions=f"<results>/pictures/{cfg.pictures.test.name}/captions.parquet",
        probe=shipped("resources/picturebook/probe"),
    output:
        table="<results>/benchmark/claim.parquet",
        page="<results>/benchmark/claim.md",
    params:
        revision=REVISIONS["picturebook_benchmark"],
        arms=cfg.arms,
        seeds=cfg.captioner.seeds,
        test=cfg.pictures.test.name,
        samples=cfg.evaluation.bootstrap_samples,
    log:
        "<results>/logs/measure_picturebook_claim.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(3000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/measure_picturebook_claim.py"


rule picturebook_claim:
    input:
        "<results>/benchmark/claim.md",
        "<results>/evaluation/scores.md",
