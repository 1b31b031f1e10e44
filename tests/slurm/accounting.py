"""Jobs in SLURM's accounting."""

from collections.abc import Mapping
from dataclasses import dataclass

from cluster import Cluster

FIELDS = "JobID JobName State Partition Comment ReqTRES AllocTRES TimelimitRaw NodeList Submit Start End".split()
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REQUEUED")


@dataclass(frozen=True)
class Job:
    """A job, or one of its steps. `asked` and `got` are cpu, mem, gres/gpu …; `minutes` is its limit."""

    id: str
    run: str  # the name that all jobs of a run have
    state: str
    partition: str
    rule: str
    wildcards: str
    asked: Mapping[str, str]
    got: Mapping[str, str]
    minutes: int
    node: str
    submitted: str
    started: str
    ended: str

    @property
    def gpus(self) -> int:
        """GPUs that it asked for."""
        return int(self.asked.get("gres/gpu", 0))


def jobs(cluster: Cluster, run: str = "", rule: str = "") -> list[Job]:
    """All jobs in the order of their ids, or a run's, or a rule's; one that SLURM started again as often as it did."""
    return [job for job in _sacct(cluster, "--allocations") if run in job.run and rule in ("", job.rule)]


def steps(cluster: Cluster, job: Job) -> list[Job]:
    """A job's steps, whose states say more than its own."""
    return [step for step in _sacct(cluster, f"--jobs={job.id}") if step.id != job.id]


def ended(cluster: Cluster, run: str) -> list[Job]:
    """A run's jobs, as soon as the accounting, which is seconds late, has the end of each."""
    cluster.wait(lambda: (found := jobs(cluster, run)) != [] and all(job.state in ENDED for job in found))
    return jobs(cluster, run)


def _sacct(cluster: Cluster, *arguments: str) -> list[Job]:
    asked = ["--parsable2", "--noheader", "--duplicates", "--starttime=now-1days", f"--format={','.join(FIELDS)}"]
    lines = cluster.run("sacct", *asked, *arguments).splitlines()
    return [_job(dict(zip(FIELDS, line.split("|"), strict=True))) for line in lines]


def _job(row: dict[str, str]) -> Job:
    rule, _, wildcards = row["Comment"].removeprefix("rule_").partition("_wildcards_")
    return Job(
        id=row["JobID"], run=row["JobName"], state=row["State"].split(" ")[0], partition=row["Partition"], rule=rule,
        wildcards=wildcards, asked=_resources(row["ReqTRES"]), got=_resources(row["AllocTRES"]),
        minutes=int(row["TimelimitRaw"] or 0), node=row["NodeList"], submitted=row["Submit"], started=row["Start"],
        ended=row["End"],
    )  # fmt: skip


def _resources(text: str) -> dict[str, str]:
    """`cpu=1,mem=4000M,gres/gpu=1` as a dictionary."""
    return dict(pair.split("=", 1) for pair in text.split(",") if pair)
