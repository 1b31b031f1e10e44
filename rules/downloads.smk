# downloads: files of corpora and models of the Hugging Face hub, as config: downloads names them
#
# in:  addresses with checksums, and commits of the hub; HF_TOKEN and HF_ENDPOINT of the environment
# out: resources/corpora/<path>                      files, and what is unpacked of archives
#      resources/models/{model}/                     a model
#      resources/models/{model}/icsd-download.json   what is in it, written last: rules that load it wait for this file
# own: .<name>.part beside them                      what came of an unfinished download. No output, since Snakemake
#      deletes those of a killed job. Deleting it is safe.
#
# Downloads are local rules: they run where Snakemake runs, on a cluster's login node. Other jobs use no network.


rule downloads:
    localrule: True
    input:
        cfg.downloads.targets(),


rule download_file:
    output:
        file="resources/corpora/{file}",
    wildcard_constraints:
        file=cfg.downloads.pattern(cfg.downloads.files),
    params:
        # of SHA-1 too: a new name would download again what was downloaded under this one
        sha256=lambda wildcards: cfg.downloads.files[f"resources/corpora/{wildcards.file}"].checksum,
    log:
        "resources/logs/download_file/{file}.log",
    conda:
        "../envs/icsd.yaml"
    localrule: True
    threads: 1
    resources:
        mem_mb=500,
        runtime=1440,
    script:
        "../scripts/download_file.py"


rule unpack_file:
    input:
        archive=lambda wildcards: cfg.downloads.unpacked_files[f"resources/corpora/{wildcards.file}"][0],
    output:
        unpacked="resources/corpora/{file}",
    wildcard_constraints:
        file=cfg.downloads.pattern(cfg.downloads.unpacked_files),
    params:
        member=lambda wildcards: cfg.downloads.unpacked_files[f"resources/corpora/{wildcards.file}"][1],
    log:
        "resources/logs/unpack_file/{file}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(1000),
        runtime=jobs.minutes(60),
    script:
        "../scripts/unpack_archive.py"


rule unpack_folder:
    input:
        archive=lambda wildcards: cfg.downloads.unpacked_folders[f"resources/corpora/{wildcards.folder}"][0],
    output:
        unpacked=directory("resources/corpora/{folder}"),
    wildcard_constraints:
        folder=cfg.downloads.pattern(cfg.downloads.unpacked_folders),
    params:
        member=lambda wildcards: cfg.downloads.unpacked_folders[f"resources/corpora/{wildcards.folder}"][1],
    log:
        "resources/logs/unpack_folder/{folder}.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(1000),
        runtime=jobs.minutes(240),
    script:
        "../scripts/unpack_archive.py"


rule fetch_model:
    output:
        # updated, not deleted before: without it a folder counts as the user's own, and is not replaced
        manifest=update("resources/models/{model}/icsd-download.json"),
    wildcard_constraints:
        model=cfg.downloads.pattern(cfg.downloads.models),
    params:
        model=lambda wildcards: cfg.downloads.models[wildcards.model].params(),
    log:
        "resources/logs/fetch_model/{model}.log",
    conda:
        "../envs/icsd.yaml"
    localrule: True
    threads: 1
    resources:
        mem_mb=2000,
        runtime=1440,
    script:
        "../scripts/fetch_model.py"
