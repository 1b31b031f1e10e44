# dataset: an arm's training pairs, and a ledger of all that was kept or fell away
#
# in:  <results>/captions/all.parquet                    CAPTIONS   } of an arm with drawn pictures, all shards; an
#      <results>/summaries/{shard}.parquet               SUMMARIES  } arm may have the pictures of another one
#      <results>/images/{drawing}/sentences.parquet      SENTENCES  } (src/icsd/config/arms.py)
#      <results>/images/{drawing}/{shard}.parquet        IMAGES     }
#      <results>/safety/{drawing}/{shard}.parquet        SAFETY     }
#      <results>/alignment/{drawing}/{shard}.parquet     ALIGNMENT: where images are scored
#      <results>/alignment/{arm}/matches/{shard}.parquet ALIGNMENT: with alignment.rematch
#      <results>/dataset/multi/{pairs,ledger}.parquet    PAIRS, LEDGER: for an arm that is to have as many pictures
#      <results>/pictures/real/{ledger,captions}.parquet LEDGER, CAPTIONS: of the photographs, for the arm real
# out: <results>/dataset/{arm}/pairs.parquet             PAIRS: a picture with a caption
#      <results>/dataset/{arm}/ledger.parquet            LEDGER: input = kept + dropped, with reasons


# none where nothing is selected by score, so that finished runs without scores stay as they are
SELECTION = {"alignment": cfg.alignment.params(without=("model", "score"))} if cfg.alignment.selects else {}


rule build_dataset:
    input:
        unpack(dataset_tables),
    output:
        pairs="<results>/dataset/{arm}/pairs.parquet",
        ledger="<results>/dataset/{arm}/ledger.parquet",
    wildcard_constraints:
        arm=arms_where(lambda arm: not arm.photographs),
    params:
        **SELECTION,
        arm="{arm}",
        revision=REVISIONS["dataset"],
        max_drop_share=cfg.dataset.max_drop_share,
    log:
        "<results>/logs/build_dataset/{arm}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(1500, sentences=8, alignment=15, matches=15),
        runtime=jobs.minutes(30),
    script:
        "../scripts/build_dataset.py"


rule build_real_dataset:
    input:
        ledger="<results>/pictures/real/ledger.parquet",
        captions="<results>/pictures/real/captions.parquet",
    output:
        pairs="<results>/dataset/real/pairs.parquet",
        ledger="<results>/dataset/real/ledger.parquet",
    params:
        **cfg.dataset.params("real_share"),
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
