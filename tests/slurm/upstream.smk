# What is steered around: two jobs submitted as one array, and two that are grouped and each want a GPU.


rule arrays:
    input:
        expand("{number}.array.txt", number=[1, 2]),


rule groups:
    input:
        expand("{number}.group.txt", number=[1, 2]),


# the second task is done long before the first
rule in_array:
    output:
        "{number}.array.txt",
    resources:
        mem_mb=400,
        runtime=10,
    shell:
        "[ $SLURM_ARRAY_TASK_ID = 2 ] || sleep 60; echo done > {output}"


rule in_group:
    output:
        "{number}.group.txt",
    group:
        "shards"
    resources:
        mem_mb=400,
        runtime=10,
        gpu=1,
    shell:
        "echo $CUDA_VISIBLE_DEVICES > {output}; sleep 5"
