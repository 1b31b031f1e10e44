# picturebook: the miniature world of the default run, written out as a corpus is published
#
# in:  nothing; a scene is a function of its id and the world's seed, the splits are in src/icsd/picturebook/renders.py
# out: results/corpora/picturebook/annotations/captions_{split}.json  COCO annotation JSON
#      results/corpora/picturebook/images/{split}/                    the PNG files that it names; none for "text"
#
# Local rules, of seconds: the world has one size. On a cluster they are no jobs.


rule write_picturebook_annotations:
    output:
        annotations="results/corpora/picturebook/annotations/captions_{split}.json",
    wildcard_constraints:
        split="text|real|val|test|generator|probe_test",
    params:
        revision=REVISIONS["picturebook"],
    log:
        "results/corpora/picturebook/logs/write_picturebook_annotations/{split}.log",
    conda:
        "../envs/icsd.yaml"
    localrule: True
    threads: 1
    resources:
        mem_mb=jobs.memory(1000),
        runtime=jobs.minutes(10),
    script:
        "../scripts/write_picturebook_annotations.py"


rule write_picturebook_pictures:
    output:
        pictures=directory("results/corpora/picturebook/images/{split}"),
    wildcard_constraints:
        split="real|val|test|generator|probe_test",
    params:
        revision=REVISIONS["picturebook"],
    log:
        "results/corpora/picturebook/logs/write_picturebook_pictures/{split}.log",
    conda:
        "../envs/icsd.yaml"
    localrule: True
    threads: 1
    resources:
        mem_mb=jobs.memory(1000),
        runtime=jobs.minutes(30),
    script:
        "../scripts/write_picturebook_pictures.py"


include: "picturebook_models.smk"
include: "picturebook_benchmark.smk"
