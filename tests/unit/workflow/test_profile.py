"""Requests to a cluster, with commands that print the output of SLURM 22.05."""

import os
import sys
from pathlib import Path

import pytest
from snakemake.common.tbdstring import TBDString
from snakemake.profiles import ProfileConfigFileParser

from icsd.core.errors import ClusterError
from icsd.core.lock import lock_file, locked
from icsd.workflow import head as head_module
from icsd.workflow import head as resume_module
from icsd.workflow import slurm
from icsd.workflow.head import HEAD, Snakemake, become_head, check_shared, resume
from icsd.workflow.profile import (
    SECTIONS,
    JobRequest,
    as_words,
    check_accounts,
    check_partitions,
    check_resources,
    check_sections,
    profile_files,
)
from icsd.workflow.slurm import Partition, minutes
from icsd.workflow.start import known_by_now

FOLDER = Path("/srv/icsd")
SQUEUE = """\
11|tiny@icsd_1b9d|RUNNING|rule_summarize_groups_wildcards_0003-of-0004|/srv/icsd
9|tiny@icsd_1b9d|PENDING|rule_generate_images_wildcards_multi_0001-of-0004|/srv/icsd
10|tiny@icsd_1b9d|RUNNING|rule_generate_images_wildcards_multi_0002-of-0004|/srv/icsd
12|tiny@icsd_77aa|RUNNING|rule_read_captions|/srv/other|checkout
13|tiny2@icsd_22bb|RUNNING|rule_read_captions|/srv/icsd
14|wrap|RUNNING|(null)|/root
"""
SACCT = """\
7|tiny@icsd_0a11|OUT_OF_MEMORY|0:125|60|billing=1,cpu=1,gres/gpu=2,mem=8000M,node=1|g1|/srv/icsd|sbatch --parsable \
--job-name tiny@icsd_0a11 --comment rule_generate_images_wildcards_multi_0000-of-0004 -D /srv/icsd --wrap=a | b
8|tiny@icsd_1b9d|COMPLETED|0:0|120|billing=1,cpu=1,gres/gpu=1,mem=8000M,node=1|g1|/srv/icsd|sbatch --parsable \
--job-name tiny@icsd_1b9d --comment rule_generate_images_wildcards_multi_0000-of-0004 -D /srv/icsd --wrap=a | b
9|tiny@icsd_1b9d|CANCELLED by 0|0:53||billing=1,cpu=1,mem=100M,node=1|None assigned|/srv/icsd|sbatch --parsable \
--job-name tiny@icsd_1b9d --comment rule_read_captions -D /srv/icsd --wrap=a
15|other|COMPLETED|0:0|12|billing=1,cpu=1,mem=100M,node=1|c1|/srv/icsd|sbatch --wrap=a
"""
SINFO = "cpu|1-00:00:00\ngpu|2-00:00:00\nspare|1:00:00\n"


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that is on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def _command(folder: Path, name: str, prints: str = "", status: int = 0) -> None:
    """A command that prints this, and notes what it was asked."""
    script = folder / name
    script.write_text(
        f"#!{sys.executable}\nimport sys\nopen({str(folder / 'asked')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        f"print({prints!r}, end='', file=sys.stderr if {status} else sys.stdout)\nsys.exit({status})\n"
    )
    script.chmod(0o755)


def test_the_queue_is_that_of_the_run_and_the_folder(bin_folder: Path) -> None:
    _command(bin_folder, "squeue", SQUEUE)
    jobs = slurm.queued_jobs("tiny", FOLDER)
    assert [(job.id, job.state) for job in jobs] == [("11", "RUNNING"), ("9", "PENDING"), ("10", "RUNNING")]
    assert jobs[1].what == "rule_generate_images_wildcards_multi_0001-of-0004"
    assert [job.id for job in slurm.queued_jobs("tiny", Path("/srv/other|checkout"))] == ["12"]
    assert slurm.queued_jobs("tin", FOLDER) == []


def test_the_accounting_has_every_attempt(bin_folder: Path) -> None:
    _command(bin_folder, "sacct", SACCT)
    jobs = slurm.accounted_jobs("tiny", FOLDER)
    assert [(job.state, job.seconds, job.gpus) for job in jobs] == [
        ("OUT_OF_MEMORY", 60.0, 2), ("COMPLETED", 120.0, 1), ("CANCELLED", 0.0, 0),
    ]  # fmt: skip
    assert jobs[0].what == jobs[1].what == "rule_generate_images_wildcards_multi_0000-of-0004"
    assert jobs[2].exit_code == slurm.UNREACHED


def test_a_command_that_is_not_there_or_fails_is_one_message(bin_folder: Path) -> None:
    with pytest.raises(ClusterError, match="squeue is not on PATH: run snakemake on a login node"):
        slurm.queued_jobs("tiny", FOLDER)
    _command(bin_folder, "sacct", "Slurm accounting storage is disabled\n", status=1)
    with pytest.raises(ClusterError, match=r"^sacct .* failed: Slurm accounting storage is disabled$"):
        slurm.accounted_jobs("tiny", FOLDER)
    _command(bin_folder, "sinfo", "Unknown host\n", status=1)
    with pytest.raises(
        ClusterError, match=r"^sinfo .* failed: Unknown host; run snakemake on a login node .* or without"
    ):
        slurm.partitions()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("1-12:00:00", 2160), ("2-0", 2880), ("1:00:00", 60), ("30:30", 30.5), ("90", 90), ("infinite", None),
        ("UNLIMITED", None), ("n/a", None),
    ],
)  # fmt: skip
def test_limits_are_read_as_slurm_writes_them(limit: str, expected: float | None) -> None:
    assert minutes(limit) == expected


def test_partitions_and_accounts_are_read(bin_folder: Path) -> None:
    _command(bin_folder, "sinfo", SINFO)
    assert slurm.partitions()["spare"] == Partition("spare", 60)
    assert slurm.accounts() == set()  # no sacctmgr: the accounts are unknown
    _command(bin_folder, "sacctmgr", "Lab\nroot\n")
    assert slurm.accounts() == {"lab", "root"}


KNOWN = {"cpu": Partition("cpu", 1440), "long": Partition("long")}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (JobRequest("a", "cpu", "", 1440), None),
        (JobRequest("a", "long", "", 1e6), None),
        (
            JobRequest("a", "gpu", "", 10),
            "a goes to the partition gpu, which the cluster does not have: name one of cpu, long",
        ),
        (JobRequest("a", "cpu", "", 1441), "a asks for 1,441 minutes, and the partition cpu gives 1,440"),
        (
            JobRequest("a", "", "", 10, "gpu=9"),
            "no partition of profiles/slurm/partitions.yaml can take a, which asks for gpu=9",
        ),
    ],
)
def test_a_request_that_no_partition_meets_is_one_message(request_: JobRequest, message: str | None) -> None:
    if message is None:
        check_partitions([request_], KNOWN)
    else:
        with pytest.raises(ClusterError) as error:
            check_partitions([request_], KNOWN)
        assert message in str(error.value)


def test_an_account_of_others_is_one_message() -> None:
    check_accounts([JobRequest("a", "cpu", "Lab, root", 1)], {"lab", "root"})
    check_accounts([JobRequest("a", "cpu", "nosuch", 1)], set())
    with pytest.raises(ClusterError, match=r"slurm_account=nosuch in .* is no account of yours: name one of lab"):
        check_accounts([JobRequest("a", "cpu", "nosuch", 1)], {"lab"})


def test_names_in_the_profile_that_nobody_reads_are_refused() -> None:
    known = {"runtime", "mem_mb"}
    check_resources({"": ["mem_mb"], "draw": ["runtime"]}, ["draw"], known)
    with pytest.raises(ClusterError, match=r"default-resources in .* has slurm, which"):
        check_resources({"": ["slurm"]}, ["draw"], known)
    with pytest.raises(ClusterError, match=r"set-resources of draw in .* did you mean runtime\?"):
        check_resources({"draw": ["runtimes"]}, ["draw"], known)
    with pytest.raises(ClusterError, match=r"names the rule drew, .* did you mean draw\?"):
        check_resources({"drew": ["runtime"]}, ["draw"], known)


def test_a_section_that_snakemake_passes_over_is_refused(tmp_path: Path) -> None:
    profile = tmp_path / "config.yaml"
    profile.write_text("jobs: 3\ndefault-resources: {mem_mb: 4}\n")
    check_sections([profile])
    profile.write_text("jobs: 3\ndefault-resource: {mem_mb: 4}\n")
    with pytest.raises(ClusterError, match=r"section default-resource, .* did you mean default-resources\?"):
        check_sections([profile])


def test_the_sections_are_those_that_snakemake_reads(tmp_path: Path) -> None:
    """The parser returns a mapping for each of them and nothing for another one, so SECTIONS lists them."""
    profile = tmp_path / "config.yaml"
    profile.write_text("".join(f"{name}: {{a: {{b: 1}}}}\n" for name in [*sorted(SECTIONS), "nosuch"]))
    with profile.open() as file:
        assert set(ProfileConfigFileParser().parse(file)) == SECTIONS


def test_profiles_are_found_as_snakemake_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    files = [Path("a/config.yaml"), Path("b/config.yaml")]
    assert list(profile_files(["--profile", "a", "--jobs", "b", "--workflow-profile=b"])) == files
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "b")
    assert list(profile_files(["--jobs", "3"])) == files[1:]


def test_a_request_is_shown_in_words() -> None:
    assert as_words({"gpu": 1, "runtime": 240, "tmpdir": "/tmp", "nodes": 0}) == "gpu=1, runtime=240"  # noqa: S108


def test_a_job_knows_whether_it_sees_its_heads_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HEAD, raising=False)
    check_shared(tmp_path / "unseen")  # no head: a run without a cluster
    at_exit: list[object] = []
    monkeypatch.setattr(head_module.atexit, "register", at_exit.append)
    become_head(tmp_path / "run")
    check_shared(tmp_path / "run")
    monkeypatch.setenv("SLURMD_NODENAME", "c1")
    with pytest.raises(ClusterError, match=f"the node c1 does not see {tmp_path / 'unseen'} as"):
        check_shared(tmp_path / "unseen", delay_s=0)
    with pytest.raises(ClusterError, match=f"process {os.getpid()} on .* runs .* already"):
        become_head(tmp_path / "run")
    lock_file(tmp_path / "run" / "head").unlink()
    with locked(tmp_path / "run" / "head"), pytest.raises(ClusterError, match="has taken over"):
        check_shared(tmp_path / "run", delay_s=0)


@pytest.mark.parametrize("cancel", [False, True])
def test_resume_waits_then_unlocks_then_runs(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cancel: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resume_module, "POLL_S", 0.01)
    left = [SQUEUE.replace("/srv/icsd", str(tmp_path)), SQUEUE.replace("/srv/icsd", str(tmp_path)), ""]
    done: list[str] = []

    def rows(command: list[str], columns: int) -> list[list[str]]:
        done.append(command[0])
        return [line.split("|", columns - 1) for line in left.pop(0).splitlines()]

    monkeypatch.setattr(slurm, "_rows", rows)
    _command(bin_folder, "scancel")
    monkeypatch.setattr(Snakemake, "run", lambda self, *more: done.append(" ".join([*self.arguments, *more])) or 0)
    assert resume("tiny", tmp_path / "results", Snakemake("slurm", ["-k"]), cancel=cancel) == 0
    assert done == ["squeue"] * 3 + ["-k --unlock", "-k"]
    asked = bin_folder / "asked"
    assert (asked.read_text() if asked.exists() else "") == ("11 9 10\n" if cancel else "")


def test_resources_that_depend_on_a_missing_table_are_left_out() -> None:
    resources = {"mem_mb": TBDString(), "runtime": 60, "gpu": 1}
    assert known_by_now(resources) == {"runtime": 60, "gpu": 1}
