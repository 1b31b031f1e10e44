from dataclasses import fields
from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.groups import Selection, form_groups

with job_log(snakemake.log[0]):
    neighbors = [Path(path) for path in snakemake.input.neighbors]
    output, params = snakemake.output, snakemake.params
    ledger = output.get("ledger")
    selection = Selection(**{field.name: params.get(field.name, field.default) for field in fields(Selection)})
    ledger = Path(ledger) if ledger else None
    form_groups(neighbors, Path(output.groups), params.shards, Path(output.group_times), selection, ledger)
