# evaluation: trained captioners and the test pictures -> the table of scores
#
# in:  <results>/captioner/{arm}/seed-{seed}/checkpoint/
#      <results>/pictures/test/{images,captions}.parquet      IMAGES, CAPTIONS: read by no rule before this stage
#      <results>/dataset/{arm}/pairs.parquet                  PAIRS, only counted
# out: <results>/evaluation/{arm}/seed-{seed}/predictions.parquet  PREDICTIONS
#      <results>/evaluation/{arm}/seed-{seed}/scores.parquet       SCORES of one captioner
#      <results>/evaluation/scores.parquet, scores.md              SCORES of all, and the page that people read


rule predict_captions:
    input:
        checkpoint="<results>/captioner/{arm}/seed-{seed}/checkpoint",
        images="<results>/pictures/test/images.parquet",
        captions="<results>/pictures/test/captions.parquet",
    output:
        "<results>/evaluation/{arm}/seed-{seed}/predictions.parquet",
    params:
        revision=REVISIONS["evaluation"],
        prefix=cfg.captioner.prefix,
        search=cfg.evaluation.model_dump(include={"beams", "min_tokens", "max_tokens"}),
    log:
        "<results>/logs/predict_captions/{arm}-seed-{seed}.log",
    benchmark:
        "<results>/benchmarks/predict_captions/{arm}-seed-{seed}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
        batch_size=cfg.evaluation.batch_size,
    script:
        "../scripts/predict_captions.py"


rule score_captions:
    input:
        predictions="<results>/evaluation/{arm}/seed-{seed}/predictions.parquet",
        captions="<results>/pictures/test/captions.parquet",
    output:
        "<results>/evaluation/{arm}/seed-{seed}/scores.parquet",
    params:
        revision=REVISIONS["evaluation"],
        metrics=cfg.evaluation.metrics,
        samples=cfg.evaluation.bootstrap_samples,
    log:
        "<results>/logs/score_captions/{arm}-seed-{seed}.log",
    benchmark:
        "<results>/benchmarks/score_captions/{arm}-seed-{seed}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=3000,  # METEOR's Java takes up to 2,000
        runtime=30,
    script:
        "../scripts/score_captions.py"


rule collect_scores:
    input:
        scores=expand("<results>/evaluation/{arm}/seed-{seed}/scores.parquet", arm=cfg.arms, seed=cfg.captioner.seeds),
        pairs=expand("<results>/dataset/{arm}/pairs.parquet", arm=cfg.arms),
        captions="<results>/pictures/test/captions.parquet",
    output:
        table="<results>/evaluation/scores.parquet",
        page="<results>/evaluation/scores.md",
    params:
        revision=REVISIONS["evaluation"],
        arms=cfg.arms,
        steps=cfg.captioner.steps,
    log:
        "<results>/logs/collect_scores.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../scripts/collect_scores.py"
