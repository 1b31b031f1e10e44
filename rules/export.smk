# export: datasets and captioners in formats of other tools (docs/guide/export.md)
#
# in:  <results>/dataset/{arm}/{pairs,ledger}.parquet   PAIRS, LEDGER
#      <results>/images/{arm}/{shard}.parquet           IMAGES, or the real pictures for the arm "real"
#      <results>/summaries/{shard}.parquet              SUMMARIES: the tokens, for the card
#      <results>/captioner/{arm}/seed-{seed}/checkpoint/
#      <results>/evaluation/{arm}/seed-{seed}/{test}/scores.parquet  SCORES, for the card
# out: <results>/export/{arm}/huggingface/              data/train-*.parquet, a shard of the images each; README.md
#      <results>/export/{arm}/webdataset/               train-*.tar, likewise; README.md
#      <results>/export/{arm}/coco/                     captions_train.json, images/: a file a picture; README.md
#      <results>/export/{arm}/captioner-seed-{seed}/    a transformers folder; README.md
#
# Nothing leaves the machine: a person publishes a folder by a command.


rule export:
    input:
        expand("<results>/export/{arm}/{layout}", arm=cfg.exported_arms, layout=cfg.export.formats),
        expand("<results>/export/{arm}/captioner-seed-{seed}", arm=cfg.exported_arms, seed=cfg.captioner.seeds),


rule export_dataset:
    input:
        pairs="<results>/dataset/{arm}/pairs.parquet",
        ledger="<results>/dataset/{arm}/ledger.parquet",
        images=arm_images,
        summaries=lambda wildcards: (
            []
            if ARMS[wildcards.arm].drawn_by.sentences in (None, "groups")
            else collect("<results>/summaries/{shard}.parquet", shard=SHARDS)
        ),
    output:
        directory("<results>/export/{arm}/{layout}"),
    wildcard_constraints:
        layout="huggingface|webdataset|coco",
    params:
        revision=REVISIONS["export"],
        source=cfg.provenance | {"prompt": shipped(f"config/prompts/{cfg.summaries.prompt}.txt")},
    log:
        "<results>/logs/export_dataset/{arm}-{layout}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(240),
    script:
        "../scripts/export_dataset.py"


rule export_captioner:
    input:
        checkpoint="<results>/captioner/{arm}/seed-{seed}/checkpoint",
        pairs="<results>/dataset/{arm}/pairs.parquet",
        scores=collect(
            "<results>/evaluation/{{arm}}/seed-{{seed}}/{test}/scores.parquet", test=list(cfg.pictures.tests)
        ),
    output:
        directory("<results>/export/{arm}/captioner-seed-{seed}"),
    params:
        revision=REVISIONS["export"],
        source=cfg.provenance,
        settings=cfg.captioner.params(without=("seeds",)),
        search=cfg.evaluation.params("beams", "min_tokens", "max_tokens"),
    log:
        "<results>/logs/export_captioner/{arm}-seed-{seed}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(2000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/export_captioner.py"
