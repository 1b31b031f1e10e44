# Jobs that come to grief at the first attempt, each in its way, and do what they should at the next. A test's own
# Snakefile, which knows the partitions of the tests' cluster.
from icsd.workflow.resources import Jobs

jobs = Jobs.on_cluster(3.0, workflow.resource_settings.default_resources, inside=workflow.remote_exec)
PATIENT = 300  # seconds, more than any of it takes


rule all:
    input:
        expand("{trouble}.txt", trouble=["memory", "time", "cancelled", "node", "preempted"]),


# 600 MB, where 500 were asked for and then 1,000
rule memory:
    output:
        "{trouble,memory}.txt",
    resources:
        mem_mb=jobs.memory(500),
        runtime=jobs.minutes(5),
    shell:
        "python -c 'block = bytearray(b\"x\") * 600_000_000; import time; time.sleep(4)'; echo done > {output}"


# the first of its kind waits until something has happened to it; SLURM knows no shorter limit than a minute
rule time:
    output:
        "{trouble,time}.txt",
    resources:
        mem_mb=jobs.memory(400),
        runtime=jobs.minutes(1),
    shell:
        "[ -e {output}.began ] || {{ touch {output}.began; sleep {PATIENT}; }}; echo done > {output}"


use rule time as cancelled with:
    output:
        "{trouble,cancelled}.txt",
    resources:
        mem_mb=jobs.memory(400),
        runtime=jobs.minutes(10),


use rule time as node with:
    output:
        "{trouble,node}.txt",
    resources:
        mem_mb=jobs.memory(400),
        runtime=jobs.minutes(10),
        slurm_partition="spare",


use rule time as preempted with:
    output:
        "{trouble,preempted}.txt",
    resources:
        mem_mb=jobs.memory(400),
        runtime=jobs.minutes(10),
        slurm_partition="scavenger",
