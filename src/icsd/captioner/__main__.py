"""`python -m icsd.captioner JOB.json`: one process of a training, as torchrun starts it (docs/training.md)."""

import logging
import os
import sys
from pathlib import Path

from icsd.captioner.job import read_job
from icsd.captioner.processes import joined
from icsd.captioner.training import train_captioner
from icsd.logs import job_log


def main(path: str) -> None:
    """Train the job of the file `path` with the other processes; those but the first tell errors alone."""
    job = read_job(path)
    rank = int(os.environ.get("RANK", "0"))
    log = Path(job.files.log)
    with job_log(log if rank == 0 else log.with_suffix(f".rank{rank}.log")):
        if rank > 0:
            logging.getLogger("icsd").setLevel(logging.ERROR)
        with joined(job.running.device, job.running.processes) as processes:
            train_captioner(job, processes)


if __name__ == "__main__":
    main(sys.argv[1])
