"""The resources of jobs, and what a run on several GPUs or on SLURM needs beside Snakemake's own executors.

resources  the memory and time that a job requests
gpus       the GPUs of a run on one machine
failures   the causes of earlier attempts' failures, from SLURM's logs
profile    checks of the profile's keys, partitions and accounts
slurm      SLURM's commands and their output as values
head       the process that submits a run's jobs, and how to resume after its end
start      all checks before the first job
"""
