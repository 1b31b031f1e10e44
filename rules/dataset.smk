# dataset: an arm's training pairs, and a ledger of all that was kept or fell away
#
# in:  <results>/captions/all.parquet                    CAPTIONS   } all shards; for the arm "real"
#      <results>/summaries/{shard}.parquet               SUMMARIES  } <results>/pictures/real/ alone
#      <results>/images/{arm}/sentences.parquet          SENTENCES  } multi_head has those of multi
#      <results>/images/{arm}/{shard}.parquet            IMAGES     }
#      <results>/safety/{arm}/{shard}.parquet            SAFETY     }
#      <results>/dataset/multi/pairs.parquet             PAIRS: for the arm single, which has as many pictures
# out: <results>/dataset/{arm}/pairs.parquet             PAIRS: a picture with a caption
#      <results>/dataset/{arm}/ledger.parquet            LEDGER: input = kept + dropped, with reasons


rule build_dataset:
    input:
        captions="<results>/captions/all.parquet",
        summaries=collect("<results>/summaries/{shard}.parquet", shard=SHARDS),
        sentences="<results>/images/{arm}/sentences.parquet",
        images=collect("<results>/images/{{arm}}/{shard}.parquet", shard=SHARDS),
        safety=collect("<results>/safety/{{arm}}/{shard}.parquet", shard=SHARDS),
    output:
        pairs="<results>/dataset/{arm}/pairs.parquet",
        ledger="<results>/dataset/{arm}/ledger.parquet",
    wildcard_constraints:
        arm="multi|single_matched",
    params:
        arm="{arm}",
        revision=REVISIONS["dataset"],
        max_drop_share=cfg.dataset.max_drop_share,
    log:
        "<results>/logs/build_dataset/{arm}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/build_dataset.py"


use rule build_dataset as build_single_dataset with:
    input:
        captions="<results>/captions/all.parquet",
        summaries=collect("<results>/summaries/{shard}.parquet", shard=SHARDS),
        sentences="<results>/images/single/sentences.parquet",
        images=collect("<results>/images/single/{shard}.parquet", shard=SHARDS),
        safety=collect("<results>/safety/single/{shard}.parquet", shard=SHARDS),
        multi="<results>/dataset/multi/pairs.parquet",
    output:
        pairs="<results>/dataset/single/pairs.parquet",
        ledger="<results>/dataset/single/ledger.parquet",
    params:
        arm="single",
        revision=REVISIONS["dataset"],
        max_drop_share=cfg.dataset.max_drop_share,
    log:
        "<results>/logs/build_dataset/single.log",


use rule build_dataset as build_head_dataset with:
    input:
        captions="<results>/captions/all.parquet",
        summaries=collect("<results>/summaries/{shard}.parquet", shard=SHARDS),
        sentences="<results>/images/multi/sentences.parquet",
        images=collect("<results>/images/multi/{shard}.parquet", shard=SHARDS),
        safety=collect("<results>/safety/multi/{shard}.parquet", shard=SHARDS),
    output:
        pairs="<results>/dataset/multi_head/pairs.parquet",
        ledger="<results>/dataset/multi_head/ledger.parquet",
    params:
        arm="multi_head",
        revision=REVISIONS["dataset"],
        max_drop_share=cfg.dataset.max_drop_share,
    log:
        "<results>/logs/build_dataset/multi_head.log",


rule build_real_dataset:
    input:
        ledger="<results>/pictures/real/ledger.parquet",
        captions="<results>/pictures/real/captions.parquet",
    output:
        pairs="<results>/dataset/real/pairs.parquet",
        ledger="<results>/dataset/real/ledger.parquet",
    params:
        revision=REVISIONS["dataset"],
    log:
        "<results>/logs/build_real_dataset.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/build_real_dataset.py"
