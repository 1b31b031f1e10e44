"""Cluster: what a run on SLURM needs beside Snakemake's own executor.

slurm      SLURM's commands, and what they print as values
requests   what jobs ask of the cluster, and whether it has that
profile    the profile's keys, which Snakemake does not all look at
head       the process that submits: one a run, which its jobs can tell from another
start      all that is looked at before the first job is submitted
resume     to go on after the head's death
"""
