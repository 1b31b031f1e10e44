# estimate: what the run takes in requests, money, GPU hours and disk, before anything is spent
#
# in:  nothing; what is there already of <results>/ and of the store of replies is looked at
# out: <results>/estimate.md, and the same on the terminal. No output of the rule, so that `snakemake estimate` always
#      runs it, and nothing else ever does


rule estimate:
    params:
        config=cfg.model_dump(mode="json"),
        prompt=shipped(f"config/prompts/{cfg.summaries.prompt}.txt"),
        results=f"results/{cfg.run}",  # a <path> in params stays as it is
    log:
        "<results>/logs/estimate.log",
    conda:
        "../envs/icsd.yaml"
    localrule: True
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    script:
        "../scripts/print_estimate.py"
