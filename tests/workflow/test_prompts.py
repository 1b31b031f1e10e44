"""A prompt edited run by run, with an LLM behind HTTP: what is asked, what is reused, what is drawn anew."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer
from checkout import Checkout

from icsd.core import tables
from icsd.core.ids import shard_names
from icsd.stages.images import image_store

KEY = "sk-test-3b0c9d47f1a2e865"
VARIABLE = "ICSD_TEST_WORKFLOW_KEY"
(SHARD,) = shard_names(1)
IMAGES = f"results/tiny/images/multi/{SHARD}.parquet"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv(VARIABLE, KEY)
    with ChatServer(key=KEY) as running:
        yield running


@pytest.fixture
def connected(done: Checkout, server: ChatServer) -> Checkout:
    """A run whose summaries come from the server."""
    openai = {"base_url": server.url, "model": "m", "api_key_env": VARIABLE, "retries": 0}
    done.edit("summaries.provider", "openai")
    done.edit("summaries.openai", openai)
    done.edit("summaries.quality.max_unsupported_share", 1.0)
    return done


def test_all_jobs_together_stay_under_one_limit(fresh: Checkout, server: ChatServer) -> None:
    fresh.edit("shards", 3)
    fresh.edit("summaries.provider", "openai")
    openai = {"base_url": server.url, "model": "m", "api_key_env": VARIABLE, "concurrency": 4}
    fresh.edit("summaries.openai", openai)
    fresh.edit("summaries.max_drop_share", 1.0)
    server.latency_ms = 1500.0  # long enough that jobs that are not held back overlap
    targets = [f"results/tiny/summaries/{name}.parquet" for name in shard_names(3)]
    fresh.run(*targets, "--resources", "llm_requests=4", cores=3)
    assert 1 < server.highest <= 4


def _prompt(checkout: Checkout) -> Path:
    return checkout.folder / "config" / "prompts" / "paper.txt"


def _sent_and_kept(log: str) -> tuple[int, int]:
    found = re.search(r"summaries: ([\d,]+) responses are cached, ([\d,]+) requests to send", log)
    assert found
    return int(found[2]), int(found[1])


def _sentences(checkout: Checkout) -> set[tuple[str, str]]:
    rows = tables.read(checkout.folder / IMAGES, tables.IMAGES, columns=["image_id", "sentence"]).to_pylist()
    return {(row["image_id"], row["sentence"]) for row in rows}


def _drawn(checkout: Checkout) -> int:
    return image_store(checkout.folder / "results" / "drawn", checkout.config["run"]).count()


def test_an_edited_prompt_asks_and_draws_what_is_new_and_going_back_asks_nothing(
    connected: Checkout, server: ChatServer
) -> None:
    groups = tables.read(connected.results / "groups/all.parquet", tables.GROUPS).num_rows
    known = _sentences(connected)  # of the merger

    def run() -> tuple[int, int]:
        """Requests sent and replies reused, as printed; checked with what the server saw and what was drawn."""
        drawn = _drawn(connected)
        log = connected.run(IMAGES).stderr
        sent, kept = _sent_and_kept(log)
        repairs = re.search(r"repairs: [\d,]+ responses are cached, ([\d,]+) requests to send", log)
        assert len(server.seen) == sent + (int(repairs[1]) if repairs else 0)
        server.reset()
        sentences = _sentences(connected)
        redrawn = sentences - known
        assert _drawn(connected) - drawn == len(redrawn)
        if known & sentences:
            assert f"images: {len(sentences) - len(redrawn)} of {len(sentences)} are drawn already" in log
        known.update(sentences)
        return sent, kept

    original = _prompt(connected).read_text()
    assert run() == (groups, 0)
    _prompt(connected).write_text(original.replace("Choose 5 to 10", "Choose 3 to 8"))
    assert run() == (groups, 0)
    _prompt(connected).write_text(original)
    assert run() == (0, groups)
    # a comment changes the prompt's hash, and no rendered prompt
    _prompt(connected).write_text("{# for people #}" + original)
    assert run() == (0, groups)


def test_another_shard_count_and_another_run_ask_nothing(connected: Checkout, server: ChatServer) -> None:
    connected.run(f"results/tiny/summaries/{SHARD}.parquet")
    assert server.seen
    server.reset()
    connected.edit("shards", 2)
    connected.edit("run", "other")
    connected.run(*(f"results/other/summaries/{name}.parquet" for name in shard_names(2)))
    assert not server.seen


def test_two_prompts_are_compared_from_the_same_store(connected: Checkout, server: ChatServer) -> None:
    connected.edit("summaries.prompts", ["paper", "strict"])
    connected.run(f"results/tiny/summaries/{SHARD}.parquet")
    server.reset()
    log = connected.run("compare_prompts").stderr
    groups = tables.read(connected.results / "groups/all.parquet", tables.GROUPS).num_rows
    assert groups <= len(server.seen) <= 2 * groups  # strict's alone, and its repairs
    assert f"summaries: {groups} responses are cached, 0 requests to send" in log  # paper's
    rows = tables.read(connected.results / "prompts/comparison.parquet", tables.PROMPTS).to_pylist()
    values = {(row["prompt"], row["measure"]): row["value"] for row in rows}
    assert values["paper", "groups"] == values["strict", "groups"] == groups
    assert values["strict", "prompt tokens"] > values["paper", "prompt tokens"] > 0
    assert "paper" in (connected.results / "prompts/comparison.md").read_text()


def test_the_key_is_in_no_file_no_message_and_no_process_list(connected: Checkout, server: ChatServer) -> None:
    def listed() -> str:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it may have ended
                found.append((process / "cmdline").read_bytes())
        return b"".join(found).decode(errors="replace")

    said = connected.run("-p", "--verbose", f"results/tiny/summaries/{SHARD}.parquet")
    assert server.seen[0].authorization == f"Bearer {KEY}"
    assert KEY not in said.stdout + said.stderr + listed()
    server.key = "another"
    connected.edit("summaries.openai.model", "n")
    refused = connected.snakemake(f"results/tiny/summaries/{SHARD}.parquet")
    assert refused.returncode != 0 and VARIABLE in refused.stderr and KEY not in refused.stdout + refused.stderr
    holding = [path for path in connected.folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert holding == []
