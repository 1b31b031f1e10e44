"""Command `python -m icsd.stages.captioner JOB.json`: one process of a training, started by torchrun.

See docs/guide/training.md.
"""

import logging
import os
import sys
from pathlib import Path

from icsd.core.logs import job_log
from icsd.stages.captioner.job import read_job
from icsd.stages.captioner.processes import process_group
from icsd.stages.captioner.training import train_captioner


def main(path: str) -> None:
    """Train the job in the file `path` with the other processes; only the first logs more than errors."""
    job = read_job(path)
    rank = int(os.environ.get("RANK", "0"))
    log = Path(job.files.log)
    with job_log(log if rank == 0 else log.with_suffix(f".rank{rank}.log")):
        if rank > 0:
            logging.getLogger("icsd").setLevel(logging.ERROR)
        with process_group(job.resources.device, job.resources.processes) as processes:
            train_captioner(job, processes)


if __name__ == "__main__":
    main(sys.argv[1])
