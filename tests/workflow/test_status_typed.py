"""`icsd status`, typed where the Snakefile is, of a run that is finished."""

import subprocess
import sys

from checkout import OVERLAY, Checkout


def test_status_of_a_finished_run_has_every_job_done(whole_run: Checkout) -> None:
    command = [sys.executable, "-m", "icsd.cli", "status", "--configfile", OVERLAY]
    page = subprocess.run(command, cwd=whole_run.folder, capture_output=True, text=True, check=True).stdout
    rows = {
        line.split("|")[1].strip(): line.split("|")[2:8]
        for line in page.splitlines()
        if line.startswith("| ") and "---" not in line
    }
    stages = ["captions", "embeddings", "groups", "summaries", "images", "safety", "dataset", "captioner", "evaluation"]
    assert list(rows)[1:] == [*stages, "all"]
    for row in list(rows.values())[1:]:
        jobs, done, running, queued, failed = (int(cell) for cell in row[:5])
        assert (jobs, running, queued, failed) == (done, 0, 0, 0)
        assert jobs > 0
