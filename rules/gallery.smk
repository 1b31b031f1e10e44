# gallery: all tables -> a page with the pictures, for a browser without a server
#
# in:  <results>/{captions,groups}/all.parquet              CAPTIONS, GROUPS  } if any arm draws pictures
#      <results>/summaries/{shard}.parquet                  SUMMARIES: if any of these needs them
#      <results>/images/{drawing}/sentences.parquet         SENTENCES  }
#      <results>/images/{drawing}/{shard}.parquet           IMAGES     } of the arms that draw
#      <results>/safety/{drawing}/{shard}.parquet           SAFETY     }
#      <results>/alignment/{drawing}/{shard}.parquet        ALIGNMENT: where images are scored
#      <results>/alignment/{arm}/matches/{shard}.parquet    ALIGNMENT: with alignment.rematch
#      <results>/dataset/{arm}/{pairs,ledger}.parquet       PAIRS, LEDGER
#      <results>/pictures/{real,<test>}/{images,captions}.parquet  IMAGES, CAPTIONS
#      <results>/evaluation/{arm}/seed-{seed}/{test}/predictions.parquet  PREDICTIONS
# out: <results>/gallery/index.html                         the page; it sends no request
#      <results>/gallery/data/*.js                          the data that it loads, in files of about 0.6 MB


GALLERY_PICTURES = list(cfg.pictures.tests) + ["real"] * cfg.has_photographs


rule write_gallery:
    input:
        captions="<results>/captions/all.parquet" if cfg.drawn_arms else [],
        groups="<results>/groups/all.parquet" if cfg.drawn_arms else [],
        summaries=collect("<results>/summaries/{shard}.parquet", shard=SHARDS) if cfg.summarizing_arms else [],
        sentences=drawn_sentences(*cfg.drawn_arms),
        images=drawn_shards("images", *cfg.drawn_arms),
        safety=drawn_shards("safety", *cfg.drawn_arms),
        alignment=drawn_shards("alignment", *cfg.drawn_arms) if cfg.alignment.scores else [],
        matches=collect("<results>/alignment/{arm}/matches/{shard}.parquet", arm=cfg.drawn_arms, shard=MATCHED),
        datasets=collect("<results>/dataset/{arm}/{table}.parquet", arm=cfg.arms, table=["pairs", "ledger"]),
        pictures=collect(
            "<results>/pictures/{split}/{table}.parquet", split=GALLERY_PICTURES, table=["images", "captions"]
        ),
        predictions=collect(
            "<results>/evaluation/{arm}/seed-{seed}/{test}/predictions.parquet",
            arm=cfg.arms,
            seed=cfg.captioner.seeds,
            test=list(cfg.pictures.tests),
        ),
    output:
        gallery=directory("<results>/gallery"),
    params:
        revision=REVISIONS["gallery"],
        run={
            "folder": cfg.results,  # a <path> in params stays as it is
            "arms": cfg.arms,
            "drawn": cfg.drawn_arms,
            "shards": SHARDS,
            "seeds": cfg.captioner.seeds,
            "tests": list(cfg.pictures.tests),
            **({"candidates": cfg.images.candidates} if cfg.images.candidates > 1 else {}),
            **({"aligned": True} if cfg.alignment.scores else {}),
            **LANGUAGE,
        },
        pictures=cfg.gallery.pictures,
    log:
        "<results>/logs/write_gallery.log",
    benchmark:
        "<results>/benchmarks/write_gallery.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(120),
    script:
        "../scripts/write_gallery.py"
