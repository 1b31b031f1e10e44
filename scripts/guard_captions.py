from pathlib import Path

from icsd.config import GuardConfig, job_config
from icsd.core.logs import job_log
from icsd.stages.guard import ReferenceTables, guard_captions

with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):
    inputs, output, splits = snakemake.input, snakemake.output, snakemake.params.references
    embeddings = inputs.reference_embeddings or [None] * len(splits)
    references = [
        ReferenceTables(split, Path(captions), Path(vectors) if vectors else None)
        for split, captions, vectors in zip(splits, inputs.references, embeddings, strict=True)
    ]
    shards, kept = [Path(path) for path in inputs.embeddings], output.get("kept")
    settings, ledger = GuardConfig(**snakemake.params.settings), Path(output.guard)
    language, kept = job_config(snakemake).captions.language, Path(kept) if kept else None
    guard_captions(Path(inputs.captions), shards, references, settings, ledger, kept, language)
