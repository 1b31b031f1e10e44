# guard: captions that repeat another one, or a reference of val or of a test set, reported or dropped; off by default
#
# in:  <results>/captions/all.parquet                     CAPTIONS
#      <results>/pictures/{val,<test>}/captions.parquet   CAPTIONS: the references
#      <results>/embeddings/{shard}.parquet               EMBEDDINGS } where vectors are compared (guard.min_cosine)
#      <results>/embeddings/references/{val,<test>}.parquet          }
# out: <results>/captions/guard.parquet                   LEDGER: the captions, and what each repeats
#      <results>/captions/kept.parquet                    CAPTIONS without the dropped ones, where any are to be dropped


GUARD = "<results>/captions/guard.parquet" if cfg.guard.is_on else []
KEPT = "<results>/captions/kept.parquet" if cfg.guard.drops else "<results>/captions/all.parquet"
REFERENCES = [] if cfg.guard.references == "off" else cfg.pictures.references


rule guard_captions:
    input:
        captions="<results>/captions/all.parquet",
        references=collect("<results>/pictures/{split}/captions.parquet", split=REFERENCES),
        embeddings=collect("<results>/embeddings/{shard}.parquet", shard=SHARDS * cfg.guard.uses_vectors),
        reference_embeddings=collect(
            "<results>/embeddings/references/{split}.parquet", split=REFERENCES * cfg.guard.uses_vectors
        ),
    output:
        **({"kept": KEPT} if cfg.guard.drops else {}),
        guard="<results>/captions/guard.parquet",
    params:
        **LANGUAGE,
        revision=REVISIONS["guard"],
        settings=cfg.guard.params(),
        references=REFERENCES,
    log:
        "<results>/logs/guard_captions.log",
    benchmark:
        "<results>/benchmarks/guard_captions.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(2000, captions=20, embeddings=3, reference_embeddings=5),
        runtime=jobs.minutes(30, "embeddings", "reference_embeddings", rate=cfg.estimate.comparisons_per_second),
        gpu=jobs.gpu,
    script:
        "../scripts/guard_captions.py"
