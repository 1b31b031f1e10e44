"""LLM jobs share one limit across the cluster: llm_requests of profiles/default, with --profile slurm too."""

from cluster import Cluster
from head import MakeFolder, Submit


def test_jobs_of_a_cluster_share_the_limit_of_requests(
    cluster: Cluster, submit: Submit, folder_with: MakeFolder
) -> None:
    folder = folder_with("waiting")
    head = submit(folder, "--config", "seconds=5", "--set-resources", "wait:llm_requests=32")
    head.succeed()
    assert "llm_requests=" in head.said.split("Provided resources:")[1].splitlines()[0]
    times = [
        (float(line.split()[1]), 1 if line.startswith("begin") else -1)
        for path in folder.glob("*.times")
        for line in path.read_text().splitlines()
    ]
    at_once, most = 0, 0
    for _, change in sorted(times):
        at_once += change
        most = max(most, at_once)
    assert len(times) == 6
    assert most == 2  # of 32 each, where 64 may be under way
