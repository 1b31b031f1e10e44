from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.dataset import DrawnArm, build_dataset

with job_log(snakemake.log[0]):
    inputs = snakemake.input
    multi = inputs.get("multi")
    tables_of_arm = DrawnArm(
        Path(inputs.captions),
        [Path(path) for path in inputs.summaries],
        Path(inputs.sentences),
        [Path(path) for path in inputs.images],
        [Path(path) for path in inputs.safety],
        Path(multi) if multi else None,
    )
    pairs, ledger = Path(snakemake.output.pairs), Path(snakemake.output.ledger)
    build_dataset(snakemake.params.arm, tables_of_arm, pairs, ledger, snakemake.params.max_drop_share)
