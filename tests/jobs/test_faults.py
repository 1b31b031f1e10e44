"""Twenty thousand groups against a server that fails one time in ten; the first of them in a job killed fifty times."""

import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from chat_behaviours import digest

from icsd.config import SummariesConfig
from icsd.core import tables
from icsd.llm.cache import ResponseCache, spending
from icsd.llm.client import request_body
from icsd.llm.parameters import Parameters
from icsd.llm.request import Request, Sampling
from icsd.stages.summaries import summarize_groups
from icsd.stages.summaries.prompts import load_prompt

ROOT = Path(__file__).parents[2]
GROUPS, MEMBERS = 20_000, 3
KILLS, KILLED_GROUPS = 50, 10_000  # each of the fifty jobs renders all prompts, to see which are stored
PROMPT = "{% for caption in captions %}\n<{{ loop.index }}> {{ caption }}\n{% endfor %}"
# a killed job is forked from a process that has imported all: fifty times the imports would be minutes
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["icsd.llm.client", "pytest"])


def _summarize(folder: Path, config: str) -> None:
    """The job."""
    summarize_groups(
        folder / "groups.parquet", folder / "captions.parquet", folder / "prompt.txt",
        folder / "run" / "summaries" / "out.parquet", SummariesConfig(**json.loads(config)), folder / "run",
    )  # fmt: skip


@contextmanager
def _server(folder: Path, *options: str) -> Iterator[tuple[str, Path]]:
    """The server's address and its log."""
    port_file, log = folder / "port", folder / "server.jsonl"
    command = [
        sys.executable,
        str(ROOT / "tests/support/chat_server.py"),
        "--port-file",
        str(port_file),
        "--log",
        str(log),
    ]
    process = subprocess.Popen([*command, *options])
    try:
        while not port_file.exists():
            assert process.poll() is None
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port_file.read_text()}/v1", log
    finally:
        process.kill()
        process.wait()


def _write_inputs(folder: Path, groups: int) -> None:
    words = ["red", "blue", "small", "dog", "kite", "ball", "beach", "field", "house", "boat"]
    captions = [
        {"caption_id": i, "image_id": i, "caption": f"a {words[i % 10]} {words[i // 10 % 10]} {i}", "split": "train"}
        for i in range(groups + MEMBERS)
    ]
    members = [
        {"group_id": i, "caption_ids": [i, i + 1, i + 2], "similarities": [1.0] * MEMBERS} for i in range(groups)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    tables.write(folder / "captions.parquet", tables.CAPTIONS, captions)
    tables.write(folder / "groups.parquet", tables.GROUPS, members)
    (folder / "prompt.txt").write_text(PROMPT)
    (folder / "prompt.yaml").write_text("max_words: 50\n")


def _config(folder: Path, url: str, **openai: Any) -> str:
    asked = {
        "base_url": url, "model": "m", "api_key_env": None, "timeout_s": 4, "retries": 6, "concurrency": 64,
    }  # fmt: skip
    return json.dumps({"provider": "openai", "store": str(folder / "replies"), "openai": asked | openai})


def _run(folder: Path, config: str) -> int:
    """The whole job in a process of its own; its largest size in MiB."""
    command = [sys.executable, __file__, str(folder), config]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return int(subprocess.run(command, stdout=subprocess.PIPE, timeout=900, check=True, env=environment).stdout)


def _rows(folder: Path) -> pa.Table:
    return tables.read(folder / "run" / "summaries" / "out.parquet", tables.SUMMARIES)


def _seen(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    _write_inputs(folder, GROUPS)
    with _server(folder, "--faults", "0.1", "--slow-s", "0.3") as (url, _):
        (folder / "mib").write_text(str(_run(folder, _config(folder, url))))
    return folder


def test_every_group_is_a_row_and_the_ledger_has_every_request(undisturbed: Path) -> None:
    rows = _rows(undisturbed).to_pylist()
    assert [row["group_id"] for row in rows] == list(range(GROUPS))
    reasons = Counter((row["reason"] or "ok").split(":")[0] for row in rows)
    assert 0.985 * GROUPS < reasons["ok"] < GROUPS and {"refusal", "cut-off", "not-json"} <= set(reasons)
    spent = spending(ResponseCache(undisturbed / "replies").events(), "run")
    seen = _seen(undisturbed / "server.jsonl")
    assert spent.requests == len(seen) > 1.05 * GROUPS
    assert max(Counter(each["sha256"] for each in seen if each["whole"]).values()) == 1
    assert len(list((undisturbed / "replies").iterdir())) == 1


def test_memory_does_not_grow_with_the_groups(undisturbed: Path, tmp_path: Path) -> None:
    _write_inputs(tmp_path, GROUPS // 20)
    with _server(tmp_path) as (url, _):
        few = _run(tmp_path, _config(tmp_path, url))
    assert int((undisturbed / "mib").read_text()) - few < 200  # its rows, and caches of words that have a limit


def _first_digests(folder: Path) -> dict[str, str]:
    """The key of each group's first request -> its digest in the server's log."""
    prompt = load_prompt(folder / "prompt.txt")
    captions = tables.read(folder / "captions.parquet", tables.CAPTIONS)["caption"].to_pylist()
    found = {}
    for group in range(KILLED_GROUPS):
        message = {"role": "user", "content": prompt.render(captions[group : group + MEMBERS])}
        request = Request(Sampling("m", 0.0, 500), (message,), prompt.rules.json_schema)
        found[request.key] = digest(request_body(request, Parameters()))
    return found


def test_what_was_stored_before_a_kill_is_never_sent_again(undisturbed: Path, tmp_path: Path) -> None:
    _write_inputs(tmp_path, KILLED_GROUPS)
    digests, dice = _first_digests(tmp_path), random.Random(0)
    resent: set[str] = set()
    with _server(tmp_path, "--faults", "0.1", "--slow-s", "0.3") as (url, log):
        config = _config(tmp_path, url)
        for _ in range(KILLS):
            stored = {digests[event["key"]] for event in _replies(tmp_path) if event["key"] in digests}
            before = _lines(log)
            job = FORKED.Process(target=_summarize, args=(tmp_path, config))
            job.start()
            _wait_for(job, log, before + dice.randrange(1, KILLED_GROUPS // KILLS))  # by requests, not by the clock
            job.kill()
            job.join()
            assert job.exitcode == -signal.SIGKILL
            resent |= stored & {each["sha256"] for each in _seen(log)[before:]}
        kept = len(list(_replies(tmp_path)))
        assert kept > 100 and not (tmp_path / "run" / "summaries" / "out.parquet").exists()
        _run(tmp_path, config)
    assert not resent
    pairs = zip(_rows(tmp_path).to_pylist(), _rows(undisturbed)[:KILLED_GROUPS].to_pylist(), strict=True)
    assert [pair for pair in pairs if pair[0] != pair[1]] == []


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def _wait_for(job: ForkServerProcess, log: Path, lines: int) -> None:
    while _lines(log) < lines:
        assert job.is_alive()
        time.sleep(0.02)


def _replies(folder: Path) -> Iterator[dict[str, Any]]:
    return (dict(event) for event in ResponseCache(folder / "replies").events() if "reply" in event)


if __name__ == "__main__":
    _summarize(Path(sys.argv[1]), sys.argv[2])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
