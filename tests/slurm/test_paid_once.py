"""A shard whose job is cancelled in the middle goes on where it was: no reply is paid and no picture drawn twice."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from accounting import ended
from chat_server import ChatServer
from checkout import OVERLAY, Checkout, Config
from cluster import Cluster
from conftest import check_out
from head import LIMIT_S, Head, Submit

from icsd.core import tables
from icsd.core.ids import shard_names

RUN = "paid"
AT_ONCE = 2  # requests under way: those that a kill cuts off are not answered, and asked again
PNG = b"\x89PNG\r\n\x1a\n"
(SHARD,) = shard_names(1)
IMAGES = f"results/{RUN}/images/multi/{SHARD}.parquet"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(latency_ms=150.0) as running:
        yield running


@pytest.fixture
def connected(overlay: Config, server: ChatServer, tmp_path: Path) -> Checkout:
    """A run of one shard, whose requests and pictures take long enough to be cancelled in the middle."""
    openai = {"base_url": server.url, "model": "m", "api_key_env": None, "concurrency": AT_ONCE}
    summaries = {"provider": "openai", "openai": openai, "max_drop_share": 1.0, "quality": {"max_unsupported_share": 1}}
    images = overlay["images"] | {"steps": 80, "batch_size": 1}
    return check_out(tmp_path / "icsd", overlay | {"run": RUN, "shards": 1, "summaries": summaries, "images": images})


def test_a_cancelled_shard_goes_on_where_it_was(
    cluster: Cluster, submit: Submit, connected: Checkout, server: ChatServer
) -> None:
    head = submit(connected.folder, IMAGES, "--configfile", OVERLAY)
    _cancel_when(cluster, head, "summarize_groups", lambda: len(server.seen) > 40)
    _cancel_when(cluster, head, "generate_images", lambda: _drawn(connected) > 3)
    head.succeed()

    asked = Counter(each.sha256 for each in server.seen)
    assert asked.total() - len(asked) <= AT_ONCE
    sentences = tables.read(connected.results / "images/multi/sentences.parquet", tables.SENTENCES)
    assert len(tables.read(connected.folder / IMAGES, tables.IMAGES)) == len(sentences) > 8
    assert _drawn(connected) <= len(sentences) + 1  # the one that was being kept
    states = Counter((job.rule, job.state) for job in ended(cluster, f"{RUN}@"))
    for rule in ("summarize_groups", "generate_images"):
        assert (states[rule, "CANCELLED"], states[rule, "COMPLETED"]) == (1, 1)


def _cancel_when(cluster: Cluster, head: Head, rule: str, seen: Callable[[], bool]) -> None:
    def due() -> bool:
        assert head.process.poll() is None, head.said[-6000:]
        return seen()

    cluster.wait(due, seconds=LIMIT_S)
    lines = cluster.run("squeue", "--noheader", "--states=running", "--format=%i %j %k").splitlines()
    (job,) = [line.split()[0] for line in lines if f" {RUN}@" in line and f"rule_{rule}_" in line]
    cluster.run("scancel", job)


def _drawn(checkout: Checkout) -> int:
    """Pictures that were kept, as often as they were."""
    return sum(path.read_bytes().count(PNG) for path in (checkout.folder / "results/drawn").rglob("*.pictures"))
