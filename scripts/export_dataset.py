from pathlib import Path

from icsd.config import job_config
from icsd.core.logs import job_log
from icsd.views.export.dataset import ExportedArm, export_dataset

with job_log(snakemake.log[0]):
    files, params, names = snakemake.input, snakemake.params, snakemake.wildcards
    paths = {name: list(map(Path, files[name])) for name in ("images", "summaries")}
    arm = ExportedArm(names.arm, Path(files.pairs), Path(files.ledger), **paths)
    folder, config = Path(snakemake.output[0]), job_config(snakemake)
    export_dataset(arm, names.layout, folder, params.source, Path(config.results), Path(config.summaries.store))
