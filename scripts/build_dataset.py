from pathlib import Path

from icsd.dataset import DrawnArm, build_dataset
from icsd.logs import job_log

with job_log(snakemake.log[0]):
    inputs = dict(snakemake.input.items())
    multi = inputs.pop("multi", None)
    build_dataset(
        snakemake.params.arm,
        DrawnArm(
            **{name: [Path(path) for path in paths] for name, paths in inputs.items()},
            multi=Path(multi) if multi else None,
        ),
        Path(snakemake.output.pairs),
        Path(snakemake.output.ledger),
        snakemake.params.max_drop_share,
    )
