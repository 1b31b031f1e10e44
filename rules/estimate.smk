# estimate: requests, money, GPU hours and disk of the run, before anything is spent
#
# in:  no input; the tables in <results>/ and the store of replies count as far as they are there
# out: <results>/estimate.md, and the same on the terminal. It is no output of the rule, so that only `snakemake estimate`
#      runs the rule, and always does


rule estimate:
    params:
        prompt=shipped(f"config/prompts/{cfg.summaries.prompt}.txt"),
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
