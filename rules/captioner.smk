# captioner: an arm's pairs and pictures -> a trained captioner
#
# in:  <results>/dataset/{arm}/pairs.parquet              PAIRS
#      <results>/images/{arm}/{shard}.parquet             IMAGES, or the real pictures for the arm "real"
#      config: captioner.also                             the same of other arms, and of other runs
#      <results>/pictures/val/{images,captions}.parquet   IMAGES, CAPTIONS: they choose the checkpoint
#      config: captioner.start_from                       a checkpoint as below, whose weights training begins with
# out: <results>/captioner/{arm}/seed-{seed}/checkpoint/  a transformers folder, safetensors: a
#                                                      VisionEncoderDecoderModel, or a vision-language model
#      <results>/captioner/{arm}/seed-{seed}/history.parquet  HISTORY: loss and rate of every step, val's scores
# own: <results>/captioner/{arm}/seed-{seed}/resume/      the state of an unfinished training. No output, since
#      Snakemake deletes the outputs of a killed job; removed when the training is done.
#
# Of several processes (captioner.processes, captioner.nodes) the script becomes torchrun: docs/guide/training.md.


rule train_captioner:
    input:
        pairs="<results>/dataset/{arm}/pairs.parquet",
        also=pairs_also,
        images=training_images,
        val_images="<results>/pictures/val/images.parquet",
        val_captions="<results>/pictures/val/captions.parquet",
        models=model_input(*cfg.captioner.models),
        start=cfg.captioner.start_from or [],
    output:
        checkpoint=directory("<results>/captioner/{arm}/seed-{seed}/checkpoint"),
        history="<results>/captioner/{arm}/seed-{seed}/history.parquet",
    params:
        **LANGUAGE,
        revision=REVISIONS["captioner"],
        settings=cfg.captioner.params(without=("seeds",)),
        search=cfg.evaluation.params("beams", "min_tokens", "max_tokens"),
    log:
        "<results>/logs/train_captioner/{arm}-seed-{seed}.log",
    benchmark:
        "<results>/benchmarks/train_captioner/{arm}-seed-{seed}.tsv"
    conda:
        "../envs/icsd.yaml"
    threads: cfg.captioner.threads
    resources:
        # an estimate: a pair takes four times its bytes in the table while a process starts (measured at the peak: 311
        # bytes a pair, of 4.18 million pairs)
        mem_mb=jobs.memory(
            cfg.captioner.processes * (4000 + 500 * cfg.captioner.workers),
            pairs=4 * cfg.captioner.processes,
            also=4 * cfg.captioner.processes,
        ),
        runtime=jobs.minutes(
            60, "pairs", work=cfg.captioner.steps_of, rate=cfg.captioner.steps_per_second(cfg.estimate)
        ),
        gpu=cfg.captioner.gpus,
        nodes=cfg.captioner.nodes,
        # of several nodes the job starts a torchrun on each, by an srun of its own: one task a node, whatever the GPUs
        mpi="srun" if cfg.captioner.nodes > 1 else None,
        tasks=cfg.captioner.nodes if cfg.captioner.nodes > 1 else None,
        tasks_per_gpu=0 if cfg.captioner.nodes > 1 else None,
        slurm_extra=cfg.captioner.sbatch,
    script:
        "../scripts/train_captioner.py"
