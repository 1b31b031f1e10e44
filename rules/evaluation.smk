# evaluation: trained captioners and the test pictures -> the table of scores
#
# in:  <results>/captioner/{arm}/seed-{seed}/checkpoint/
#      <results>/pictures/{test}/{images,captions,domains}.parquet  IMAGES, CAPTIONS, DOMAINS of pictures.test and each of
#                                                pictures.more_tests: read by no rule before this stage
#      <results>/dataset/{arm}/pairs.parquet     PAIRS, only counted
# out: <results>/evaluation/{arm}/seed-{seed}/{test}/predictions.parquet  PREDICTIONS
#      <results>/evaluation/{arm}/seed-{seed}/{test}/results.json         the same as COCO's evaluation servers take them
#      <results>/evaluation/{arm}/seed-{seed}/{test}/scores.parquet       SCORES of one captioner, also by domain
#      <results>/evaluation/clip_vectors/{test}.parquet                   CLIP_VECTORS, where CLIPScore is asked for
#      <results>/evaluation/scores.parquet, scores.md                     SCORES of all, and the page that people read
#
# collect_scores is a local rule, of a second: it reads tables whose size no corpus decides. On a cluster it is no job.


rule predict_captions:
    input:
        checkpoint="<results>/captioner/{arm}/seed-{seed}/checkpoint",
        images="<results>/pictures/{test}/images.parquet",
        captions="<results>/pictures/{test}/captions.parquet",
    output:
        predictions="<results>/evaluation/{arm}/seed-{seed}/{test}/predictions.parquet",
        results="<results>/evaluation/{arm}/seed-{seed}/{test}/results.json",
    params:
        revision=REVISIONS["evaluation"],
        prefix=cfg.captioner.caption_prefix,
        search=cfg.evaluation.params("beams", "min_tokens", "max_tokens"),
    log:
        "<results>/logs/predict_captions/{arm}-seed-{seed}-{test}.log",
    benchmark:
        "<results>/benchmarks/predict_captions/{arm}-seed-{seed}-{test}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(60),
        gpu=jobs.gpu,
    script:
        "../scripts/predict_captions.py"


rule embed_test_pictures:
    input:
        model=model_input(cfg.evaluation.clip_model),
        images="<results>/pictures/{test}/images.parquet",
        captions="<results>/pictures/{test}/captions.parquet",
    output:
        vectors="<results>/evaluation/clip_vectors/{test}.parquet",
    params:
        revision=REVISIONS["evaluation"],
        model=cfg.evaluation.clip_model,
    log:
        "<results>/logs/embed_test_pictures/{test}.log",
    benchmark:
        "<results>/benchmarks/embed_test_pictures/{test}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(120),
        gpu=jobs.gpu,
    script:
        "../scripts/embed_test_pictures.py"


rule score_captions:
    input:
        predictions="<results>/evaluation/{arm}/seed-{seed}/{test}/predictions.parquet",
        captions="<results>/pictures/{test}/captions.parquet",
        domains="<results>/pictures/{test}/domains.parquet",
        vectors="<results>/evaluation/clip_vectors/{test}.parquet" if cfg.evaluation.clip_model else [],
        spice=cfg.downloads.below(cfg.evaluation.spice.corenlp) if "SPICE" in cfg.evaluation.metrics else [],
    output:
        "<results>/evaluation/{arm}/seed-{seed}/{test}/scores.parquet",
    params:
        **LANGUAGE,
        revision=REVISIONS["evaluation"],
        metrics=cfg.evaluation.metrics,
        samples=cfg.evaluation.bootstrap_samples,
        clip_model=cfg.evaluation.clip_model,
    log:
        "<results>/logs/score_captions/{arm}-seed-{seed}-{test}.log",
    benchmark:
        "<results>/benchmarks/score_captions/{arm}-seed-{seed}-{test}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(10000 if "SPICE" in cfg.evaluation.metrics else 3000),  # METEOR's Java takes up to 2,000, SPICE's 8,000
        runtime=jobs.minutes(120),
        gpu=0,
    script:
        "../scripts/score_captions.py"


rule collect_scores:
    input:
        scores=expand(
            "<results>/evaluation/{arm}/seed-{seed}/{test}/scores.parquet",
            arm=cfg.arms,
            seed=cfg.captioner.seeds,
            test=list(cfg.pictures.tests),
        ),
        pairs=expand("<results>/dataset/{arm}/pairs.parquet", arm=cfg.arms),
        captions=expand("<results>/pictures/{test}/captions.parquet", test=list(cfg.pictures.tests)),
        domains=expand("<results>/pictures/{test}/domains.parquet", test=list(cfg.pictures.tests)),
    output:
        table="<results>/evaluation/scores.parquet",
        page="<results>/evaluation/scores.md",
    params:
        revision=REVISIONS["evaluation"],
        arms=cfg.arms,
        tests=list(cfg.pictures.tests),
        length=cfg.captioner.length,
    log:
        "<results>/logs/collect_scores.log",
    conda:
        "../envs/icsd.yaml"
    localrule: True
    threads: 1
    resources:
        mem_mb=jobs.memory(1000),
        runtime=jobs.minutes(10),
    script:
        "../scripts/collect_scores.py"
