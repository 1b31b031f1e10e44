from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.dataset import DrawnTables, build_dataset

with job_log(snakemake.log[0]):
    inputs = snakemake.input
    balance = inputs.get("balance")
    tables_of_arm = DrawnTables(
        Path(inputs.captions),
        [Path(path) for path in inputs.summaries],
        Path(inputs.sentences),
        [Path(path) for path in inputs.images],
        [Path(path) for path in inputs.safety],
        Path(balance) if balance else None,
    )
    pairs, ledger = Path(snakemake.output.pairs), Path(snakemake.output.ledger)
    build_dataset(snakemake.params.arm, tables_of_arm, pairs, ledger, snakemake.params.max_drop_share)
