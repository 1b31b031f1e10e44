"""The reader of a run: where its tables lie, which shards count, and how they are read.

This is the only package of the library that spells the paths of a run's tables; rules spell the same ones for
Snakemake. All views read a run through it, and a run need not be finished: a table that is not there yet has no rows.
"""

from icsd.views.run.folder import DEFAULT_RUN, RESULTS, Run, configured_run, run_folder
from icsd.views.run.found import SHARD, found_run

__all__ = ["DEFAULT_RUN", "RESULTS", "SHARD", "Run", "configured_run", "found_run", "run_folder"]
