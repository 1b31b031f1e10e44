"""What is read of Snakemake's log when a run has failed."""

from pathlib import Path

from icsd.workflow.start import job_errors

LOG = """Error in rule read_captions:
    log: results/a/logs/read_captions.log (check log file(s) for error details)
Logfile results/a/logs/read_captions.log:
================================================================================
2026-12-01 00:50:33,198 WARNING 4 of 150 records of the corpus are dropped
2026-12-01 00:50:33,198 ERROR a.txt: holds no caption; give
    a file with captions
================================================================================
Logfile results/a/logs/other.log:
================================================================================
2026-12-01 00:50:33,199 ERROR a.txt: holds no caption; give
    a file with captions
2026-12-01 00:50:33,200 ERROR groups.k=500
================================================================================
"""


def test_errors_of_jobs_are_found_once_each(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(LOG)
    assert job_errors(tmp_path / "log") == ["a.txt: holds no caption; give\n    a file with captions", "groups.k=500"]
    assert job_errors(tmp_path / "none") == []
