"""Missing features of a cluster end a run before its first job, in one message. SLURM would keep such jobs forever."""

from pathlib import Path

import pytest
from checkout import OVERLAY, Checkout, Config
from cluster import Cluster
from conftest import check_out
from head import Submit

TARGET = "results/faulty/captions/all.parquet"
FAULTS = {
    "--default-resources slurm_partition=nosuch": "goes to the partition nosuch, which the cluster does not have",
    "--default-resources slurm_account=nosuch": "slurm_account=nosuch in profiles/slurm/config.yaml is no account of",
    "--default-resources slurm_partition=spare --set-resources read_captions:runtime=100": "partition spare gives 60",
    "--set-resources read_captions:runtime=100000": "partitions.yaml can take read_captions",
    "--set-resources read_captions:runtme=10": "did you mean runtime?",
    "--set-resources read_caption:runtime=10": "did you mean read_captions?",
}


@pytest.fixture(scope="module")
def faulty(overlay: Config, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which nothing is ever submitted."""
    return check_out(tmp_path_factory.mktemp("faulty") / "icsd", overlay | {"run": "faulty"})


@pytest.mark.parametrize("arguments", FAULTS)
def test_what_the_cluster_does_not_have_is_said_before_the_first_job(
    cluster: Cluster, submit: Submit, faulty: Checkout, arguments: str
) -> None:
    head = submit(faulty.folder, TARGET, "--configfile", OVERLAY, *arguments.split())
    assert head.wait() != 0
    assert FAULTS[arguments] in head.said
    assert "Submitted" not in head.said
    assert "faulty@" not in cluster.run("squeue", "--noheader", "--format=%j")
    assert "faulty@" not in cluster.run("sacct", "--allocations", "--noheader", "--format=JobName%60")


def test_a_section_that_snakemake_passes_over_is_refused(submit: Submit, faulty: Checkout) -> None:
    profile = faulty.folder / "profiles" / "slurm" / "config.yaml"
    whole = profile.read_text()
    profile.write_text(whole.replace("set-resources:", "set-resource:"))
    try:
        head = submit(faulty.folder, TARGET, "--configfile", OVERLAY)
        assert head.wait() != 0
        assert "has the section set-resource, which Snakemake does not know; did you mean set-resources?" in head.said
    finally:
        profile.write_text(whole)


def test_a_node_that_does_not_see_the_results_says_so(submit: Submit, overlay: Config, tmp_path: Path) -> None:
    """The head's lock is taken away, which is what such a node sees."""
    checkout = check_out(tmp_path / "icsd", overlay | {"run": "unseen"})
    blind = checkout.folder / "rules" / "cluster.smk"
    blind.write_text(
        blind.read_text()
        .replace("check_shared(Path(cfg.results))", 'check_shared(Path(f"elsewhere/{cfg.run}"), delay_s=1.0)')
    )  # fmt: skip
    assert "elsewhere" in blind.read_text()
    head = submit(checkout.folder, "results/unseen/captions/all.parquet", "--configfile", OVERLAY, "--retries=0")
    assert head.wait() != 0
    assert (
        f"does not see {checkout.folder / 'elsewhere' / 'unseen'} as the machine does where snakemake runs" in head.said
    )
