from pathlib import Path

from icsd.config import AlignmentConfig
from icsd.core.logs import job_log
from icsd.stages.dataset.building import DrawnTables, build_dataset

with job_log(snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    single = {name: Path(inputs[name]) if inputs.get(name) else None for name in ("groups", "balance")}
    lists = ("summaries", "sentences", "images", "safety", "alignment", "matches")
    shards = {name: [Path(path) for path in inputs.get(name, ())] for name in lists}
    tables_of_arm = DrawnTables(Path(inputs.captions), **shards, **single)
    pairs, ledger = Path(snakemake.output.pairs), Path(snakemake.output.ledger)
    settings = AlignmentConfig(**params.get("alignment", {}))
    build_dataset(params.arm, tables_of_arm, pairs, ledger, params.max_drop_share, settings)
