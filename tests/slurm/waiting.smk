# Three jobs that wait, each of which writes down when it begins and ends.
SECONDS = int(config["seconds"])


rule all:
    input:
        expand("{number}.txt", number=[1, 2, 3]),


rule wait:
    output:
        "{number}.txt",
    resources:
        mem_mb=400,
        runtime=10,
    shell:
        "echo begin $(date +%s.%N) >> {wildcards.number}.times; sleep {SECONDS};"
        "echo end $(date +%s.%N) >> {wildcards.number}.times; echo done > {output}"
