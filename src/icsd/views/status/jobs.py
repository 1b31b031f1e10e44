"""The jobs of each stage, and the state of each: done, running, queued or failed."""

import math
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, product
from pathlib import Path

from icsd.config import ARMS, AlignmentConfig, Config
from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.table import Table
from icsd.views.measures import read_benchmark
from icsd.views.run import Run
from icsd.views.run_table import RunTable
from icsd.workflow.slurm import Job

FAILED = ("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "CANCELLED", "PREEMPTED", "BOOT_FAIL", "DEADLINE")
SCORERS = {"cosine": "score_alignment", "random": "score_at_random", "probe": "score_picturebook_pairs"}  # rules
TAIL_BYTES = 4096  # of a log
HOUR_S = 3600.0
_LEFT = re.compile(r": [\d,]+ of [\d,]+, [\d,.]+ a second, ([\d,]+) s left$")


# --- The jobs of the stages, as the rules have them -------------------------------------------------------------------


@dataclass(frozen=True)
class StageJob:
    """A job: its rule and wildcards, its output, and the name of its log and benchmark.

    `table` is the kind of the output, if its rows are the items of the stage.
    """

    rule: str
    wildcards: Sequence[str]
    output: Path
    name: str  # of log and benchmark, without their suffixes
    table: Table | None = None

    @property
    def comment(self) -> str:
        """The name that the executor gives it in the queue."""
        return "_wildcards_".join(
            [f"rule_{self.rule}", *(["_".join(self.wildcards).replace("/", "_")] if self.wildcards else [])]
        )


def stages(run: Run, config: Config) -> Iterator[tuple[str, list[StageJob]]]:
    """Yield the stages of the default target with their jobs, in the order of the work."""
    yield "captions", [StageJob("read_captions", (), run.captions.paths[0], "read_captions", tables.CAPTIONS)]
    yield "embeddings", _sharded("embed_captions", run.embeddings)
    if run.guarded:
        yield "guard", _guard(run, config)
    form_groups = StageJob("form_groups", (), run.group_times.paths[0], "form_groups")
    yield "groups", [*_sharded("find_neighbors", run.neighbors), form_groups]
    yield "summaries", _sharded("summarize_groups", run.summaries) if run.summarized else []
    yield "images", [job for arm in run.drawn for job in _drawing(run, arm)]
    yield "alignment", [job for arm in run.drawn for job in _aligning(run, arm, config.alignment)]
    yield "safety", [job for arm in run.drawn for job in _drawn("check_safety", run, run.safety(arm), arm)]
    yield "dataset", [_dataset(run, arm) for arm in dict.fromkeys([*run.drawn[:1], *run.arms])]
    yield "captioner", [_training(run, arm, seed) for arm, seed in run.captioners]
    yield "evaluation", [_predicting(run, *each, test) for each, test in product(run.captioners, run.tests)]


def _guard(run: Run, config: Config) -> list[StageJob]:
    """The jobs that embed the references, where vectors are compared, and the one that looks at all captions."""
    references = config.pictures.references if config.guard.uses_vectors else []
    embedding = [
        StageJob("embed_references", (split,), run.reference_embeddings(split).paths[0], f"embed_references/{split}")
        for split in references
    ]
    return [*embedding, StageJob("guard_captions", (), run.guard.paths[0], "guard_captions")]


def _sharded(rule: str, table: RunTable) -> list[StageJob]:
    return [StageJob(rule, (path.stem,), path, f"{rule}/{path.stem}", table.table) for path in table.paths]


def _drawn(rule: str, run: Run, table: RunTable, arm: str) -> list[StageJob]:
    """The jobs of a rule for each shard of each drawing of an arm."""
    return [
        StageJob(rule, wildcards, path, "/".join((rule, *wildcards)), table.table)
        for wildcards, path in zip(product(run.drawings(arm), run.shards), table.paths, strict=True)
    ]


def _drawing(run: Run, arm: str) -> list[StageJob]:
    """The jobs that choose the sentences of further candidates, and those that draw."""
    chosen = [
        StageJob("select_candidates", (arm, str(number)), path, f"select_candidates/{arm}-{number}")
        for number, path in enumerate(run.sentences(arm).paths)
        if number
    ]
    return [*chosen, *_drawn("generate_images", run, run.images(arm), arm)]


def _aligning(run: Run, arm: str, alignment: AlignmentConfig) -> list[StageJob]:
    """The jobs that score an arm's images, and those that find other images for its captions."""
    if not alignment.scores:
        return []
    scoring = _drawn(SCORERS[alignment.score], run, run.alignment(arm), arm)
    matches = run.matches(arm).paths if alignment.rematch else ()
    matching = [
        StageJob("match_captions", (arm, shard), path, f"match_captions/{arm}/{shard}")
        for shard, path in zip(run.shards, matches, strict=False)
    ]
    return [*scoring, *matching]


def _dataset(run: Run, arm: str) -> StageJob:
    output = run.pairs(arm).paths[0]
    if ARMS[arm].photographs:
        return StageJob("build_real_dataset", (), output, "build_real_dataset", tables.PAIRS)
    return StageJob("build_dataset", (arm,), output, f"build_dataset/{arm}", tables.PAIRS)


def _training(run: Run, arm: str, seed: int) -> StageJob:
    output, name = run.history(arm, seed).paths[0], f"train_captioner/{arm}-seed-{seed}"
    return StageJob("train_captioner", (arm, str(seed)), output, name)


def _predicting(run: Run, arm: str, seed: int, test: str) -> StageJob:
    output, name = run.predictions(arm, seed, test).paths[0], f"predict_captions/{arm}-seed-{seed}-{test}"
    return StageJob("predict_captions", (arm, str(seed), test), output, name, tables.PREDICTIONS)


# --- The state of each job --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cluster:
    """The run's jobs in the queue, and its attempts in the accounting (None: there is no accounting)."""

    queued: Sequence[Job] = ()
    accounted: Sequence[Job] | None = None

    @property
    def has_jobs(self) -> bool:
        """True if it has any job of the run."""
        return bool(self.queued or self.accounted)


@dataclass(frozen=True)
class FailedJob:
    """A job that has failed and is not tried again, with the reason."""

    job: StageJob
    reason: str


@dataclass(frozen=True)
class StageStatus:
    """A stage's jobs by state, the items of its finished jobs, the seconds of their attempts and those to its end.

    None stands for what is not known.
    """

    name: str
    jobs: int
    done: int
    running: int
    queued: int
    failures: list[FailedJob] = field(default_factory=list)
    items: int | None = None
    seconds: float = 0.0
    left_s: float | None = None
    gpu_hours: float | None = None


def stage_status(name: str, jobs: Sequence[StageJob], run: Run, checkout: Path, cluster: Cluster) -> StageStatus:
    """The status of a stage. A table that an edited config makes anew counts as done until then."""
    pending = {job.what for job in cluster.queued if job.state == "PENDING"}
    working = {job.what for job in cluster.queued if job.state != "PENDING"}
    exists = [job.output.exists() for job in jobs]
    done, left = list(compress(jobs, exists)), [job for job, there in zip(jobs, exists, strict=True) if not there]
    running = [job for job in left if job.comment in working or (not cluster.has_jobs and _is_begun(job, checkout))]
    queued = [job for job in left if job.comment in pending and job not in running]
    idle = [job for job in left if job not in running and job not in queued]
    attempts: dict[str, list[Job]] = {job.comment: [] for job in jobs}
    for attempt in cluster.accounted or ():
        attempts.setdefault(attempt.what, []).append(attempt)
    of_stage = [attempt for job in jobs for attempt in attempts[job.comment]]
    seconds = [_seconds(job, run, attempts[job.comment]) for job in done]
    return StageStatus(
        name=name,
        jobs=len(jobs),
        done=len(done),
        running=len(running),
        queued=len(queued),
        failures=[FailedJob(job, reason) for job in idle if (reason := _failure(job, run, attempts[job.comment]))],
        items=_items(done),
        seconds=sum(seconds),
        left_s=_left_s(running, len(left), seconds, run),
        gpu_hours=sum(attempt.seconds * attempt.gpus for attempt in of_stage) / HOUR_S if of_stage else None,
    )


def _is_begun(job: StageJob, checkout: Path) -> bool:
    """True if a Snakemake on this machine runs the job: it locks the folder and lists incomplete outputs."""
    notes = checkout / ".snakemake"
    if not any(notes.glob("locks/*")):
        return False
    path = job.output
    name = urlsafe_b64encode(str(path.relative_to(checkout) if path.is_absolute() else path).encode()).decode()
    return (notes / "incomplete" / name).exists()


def _failure(job: StageJob, run: Run, attempts: Sequence[Job]) -> str:
    """The reason why the last attempt failed; empty if it did not."""
    errors = [line for line in _tail(run.log(job.name)) if " ERROR " in line]
    if attempts and attempts[-1].state in FAILED:
        return f"{attempts[-1].state} on {attempts[-1].node}" + (f", {_message(errors[-1])}" if errors else "")
    return _message(errors[-1]) if errors else ""


def _message(line: str) -> str:
    return line.partition(" ERROR ")[2]


def _seconds(job: StageJob, run: Run, attempts: Sequence[Job]) -> float:
    """The time of all attempts of a job by the accounting; without accounting, the time of the last one."""
    if attempts:
        return sum(attempt.seconds for attempt in attempts)
    return read_benchmark(run.benchmark(job.name)).seconds


def _items(done: Sequence[StageJob]) -> int | None:
    """The number of rows in the finished tables; None if their rows are no items."""
    counts = [_rows(job.output, job.table) for job in done if job.table]
    return sum(counts) if counts else None


def _rows(path: Path, table: Table) -> int:
    try:
        return tables.count(path, table)
    except InputError:  # snakemake makes it anew
        return 0


def _left_s(running: Sequence[StageJob], left: int, seconds: Sequence[float], run: Run) -> float | None:
    """The seconds to the end: running jobs by their logs, the others a mean job each, as many at once as run now."""
    if not left:
        return 0.0
    logged = [_logged_left(run.log(job.name)) for job in running]
    known = [each for each in logged if each is not None]
    mean = sum(seconds) / len(seconds) if any(seconds) else None
    rounds = math.ceil((left - len(running)) / max(1, len(running)))
    if rounds and mean is None:
        return None
    if running and not known and mean is None:
        return None
    return max(known, default=(mean or 0.0) if running else 0.0) + rounds * (mean or 0.0)


def _logged_left(log: Path) -> float | None:
    found = [match for line in _tail(log) if (match := _LEFT.search(line))]
    return float(found[-1][1].replace(",", "")) if found else None


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
