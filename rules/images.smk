# images: what each arm draws, and a picture of it
#
# in:  <results>/summaries/{shard}.parquet             SUMMARIES, all shards
#      <results>/captions/all.parquet                  CAPTIONS
#      <results>/groups/all.parquet                    GROUPS: for arms that draw their anchor captions
#      <results>/dataset/multi/pairs.parquet           PAIRS: for arms that draw the captions of these
#      <results>/safety/multi/{shard}.parquet          SAFETY: for these arms, where scores drop pairs
#      <results>/alignment/{drawing}/{shard}.parquet   ALIGNMENT: where images.redraw_below decides what is drawn again
# out: <results>/images/{drawing}/sentences.parquet    SENTENCES: what to draw, in the shard of the image's id; a row
#                                                      group a shard
#      <results>/images/{drawing}/{shard}.parquet      IMAGES
#      <results>/images/{drawing}/{shard}.png          a contact sheet of the shard's first pictures
#
# A drawing is an arm, such as multi, and with images.candidates of 3 also multi/candidate-1 and multi/candidate-2.
#
# own: results/drawn/                                  each picture under the hash of all that determined it, so that
#      a killed or changed run draws only what is new (config: images.store), shared by runs. No output, since
#      Snakemake deletes those of a killed job. Deleting it costs time. With images.provider openai also an event of
#      each request, and deleting it costs money.
#      <results>/image-budget/                         what jobs have reserved of images.budget_usd


rule select_sentences:
    input:
        summaries=collect("<results>/summaries/{shard}.parquet", shard=SHARDS),
        captions=KEPT,
    output:
        sentences="<results>/images/{arm}/sentences.parquet",
    wildcard_constraints:
        arm=arms_where(lambda arm: arm.sentences in ("summaries", "captions")),
    params:
        revision=REVISIONS["images"],
        shards=cfg.shards,
        max_summaries=cfg.images.max_summaries,
        spare=lambda wildcards: cfg.images.spare if ARMS[wildcards.arm].sentences == "captions" else 0,
        seed=cfg.images.seed,
    log:
        "<results>/logs/select_sentences/{arm}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(1500, summaries=3, captions=3),
        runtime=jobs.minutes(30),
    script:
        "../scripts/select_sentences.py"


rule select_anchor_captions:
    input:
        groups="<results>/groups/all.parquet",
        captions=KEPT,
    output:
        sentences="<results>/images/{arm}/sentences.parquet",
    wildcard_constraints:
        arm=arms_where(lambda arm: arm.sentences == "groups"),
    params:
        revision=REVISIONS["images"],
        shards=cfg.shards,
        max_summaries=cfg.images.max_summaries,
        seed=cfg.images.seed,
    log:
        "<results>/logs/select_anchor_captions/{arm}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/select_anchor_captions.py"


# where scores drop pairs, what is drawn follows from the method's pairs before: another threshold draws nothing
rule select_matched_sentences:
    input:
        pairs=[] if cfg.alignment.selects else f"<results>/dataset/{METHOD}/pairs.parquet",
        drawn=drawn_sentences(METHOD) if cfg.alignment.selects else [],
        safety=drawn_shards("safety", METHOD) if cfg.alignment.selects else [],
        captions="<results>/captions/all.parquet",
    output:
        sentences="<results>/images/{arm}/sentences.parquet",
    wildcard_constraints:
        arm=arms_where(lambda arm: arm.sentences == "pairs"),
    params:
        revision=REVISIONS["images"],
        shards=cfg.shards,
        seed=cfg.images.seed,
    log:
        "<results>/logs/select_matched_sentences/{arm}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/select_matched_sentences.py"


rule select_candidates:
    input:
        sentences=lambda wildcards: collect(
            "<results>/images/{drawing}/sentences.parquet", drawing=earlier_drawings(wildcards)
        ),
        alignment=earlier("alignment"),
        safety=earlier("safety"),
    output:
        sentences="<results>/images/{arm}/candidate-{number}/sentences.parquet",
    params:
        revision=REVISIONS["images"],
        shards=cfg.shards,
        seed=cfg.images.seed,
        which=cfg.images.params("redraw_below", "max_images"),
    log:
        "<results>/logs/select_candidates/{arm}-{number}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(2000, sentences=15, alignment=15),
        runtime=jobs.minutes(30),
    script:
        "../scripts/select_candidates.py"


rule generate_images:
    input:
        sentences="<results>/images/{drawing}/sentences.parquet",
        model=model_input(*cfg.images.models),
    output:
        images="<results>/images/{drawing}/{shard}.parquet",
        contact_sheet="<results>/images/{drawing}/{shard}.png",
    wildcard_constraints:
        drawing=DRAWN,
    params:
        revision=REVISIONS["images"],
        settings=cfg.images.drawing,
    log:
        "<results>/logs/generate_images/{drawing}/{shard}.log",
    benchmark:
        "<results>/benchmarks/generate_images/{drawing}/{shard}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(8000),
        runtime=jobs.minutes(20, "sentences", rate=cfg.images.rate(cfg.estimate), parts=cfg.shards),
        gpu=jobs.gpu if cfg.images.provider == "diffusers" else 0,
        llm_requests=cfg.images.llm_requests,
    script:
        "../scripts/generate_images.py"
