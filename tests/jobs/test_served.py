"""The `openai` provider against a server that others wrote: `transformers serve`, with a model of the tests."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chat_model_folder import GOOD, PROSE, make_chat_model_folder

from icsd.config import SummariesConfig
from icsd.llm.cache import ResponseCache, spending
from icsd.stages.summaries.answers import Rules
from icsd.stages.summaries.prompts import Prompt
from icsd.stages.summaries.providers import summarize
from icsd.stages.summaries.quality import Group, Summary

PROMPT = Prompt("{% for caption in captions %}\n<{{ loop.index }}> {{ caption }}\n{% endfor %}", Rules())
SERVE = Path(sys.executable).parent / "transformers"
LISTENS = re.compile(r"Uvicorn running on (http://127\.0\.0\.1:\d+)")
STARTS_WITHIN_S, STOPS_WITHIN_S = 180, 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model. Do not write into it."""
    return make_chat_model_folder(tmp_path_factory.mktemp("chat-model"))


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the model of `folder`."""
    log = tmp_path_factory.mktemp("serve") / "log"
    with _served(folder, log) as server:
        yield f"{_address(server, log)}/v1"


@contextmanager
def _served(folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process, ended in any case."""
    # the system picks the port, and the log tells it: no other process can take it in between
    command = [SERVE, "serve", folder, "--device", "cpu", "--host", "127.0.0.1", "--port", "0"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as server:
        try:
            yield server
        finally:
            server.terminate()
            try:
                server.wait(STOPS_WITHIN_S)
            except subprocess.TimeoutExpired:
                server.kill()


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + STARTS_WITHIN_S
    while not (found := LISTENS.search(log.read_text(errors="replace"))):
        assert server.poll() is None and time.monotonic() < end, log.read_text(errors="replace")
        time.sleep(0.1)
    return found[1]


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run, beside the store of replies."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "run"


def _ask(url: str, folder: Path, *scenes: str, **changes: Any) -> list[Summary]:
    groups = [Group(number, (10 * number, 10 * number + 1), (scene, "A beach.")) for number, scene in enumerate(scenes)]
    openai = {
        "base_url": url, "model": str(folder), "api_key_env": None, "temperature": 0.0, "max_tokens": 30,
        "timeout_s": 60, "retries": 0, "concurrency": 2,
    }  # fmt: skip
    config = SummariesConfig(**{"provider": "openai", "repair": False, "openai": openai} | changes)
    return list(summarize(groups, PROMPT, config, Path("results/run")))


def test_each_group_ends_as_a_row_and_a_second_run_sends_nothing(url: str, folder: Path) -> None:
    scenes = ("A dog on a beach.", "A cat in the snow.", "A bird under a tree.", "A dog by the sea.")
    summaries = _ask(url, folder, *scenes)
    good, prose, endless, _ = summaries
    assert (good.text, good.selected, good.reason) == ("A dog on a beach.", (0, 1), None)
    assert prose.reason == f"not-json: {PROSE}"
    assert endless.reason is not None and endless.reason.split(":")[0] == "cut-off"
    assert all(summary.prompt_tokens and summary.completion_tokens for summary in summaries)

    spent = spending(ResponseCache(Path("results/replies")).events(), "run")
    assert (spent.requests, spent.replies) == (4, 4)
    assert spent.completion_tokens == sum(summary.completion_tokens or 0 for summary in summaries)
    assert spent.usd > 0
    assert _ask("http://127.0.0.1:9/v1", folder, *scenes) == summaries  # nobody listens there


def test_an_unusable_answer_is_repaired_once(url: str, folder: Path) -> None:
    [summary] = _ask(url, folder, "A cat in the snow.", repair=True)
    assert summary.reason is None and summary.text == "A dog on a beach."
    assert spending(ResponseCache(Path("results/replies")).events(), "run").replies == 2


def test_the_model_answers_in_the_job_as_it_does_behind_a_server(url: str, folder: Path) -> None:
    scenes = ("A dog on a beach.", "A cat in the snow.", "A bird under a tree.")
    here = {"provider": "transformers", "transformers": {"model": str(folder), "max_tokens": 30}}
    assert _ask(url, folder, *scenes, **here) == _ask(url, folder, *scenes)
    contents = [event["reply"]["content"] for event in ResponseCache(Path("results/replies")).events()]
    assert contents.count(GOOD) == 2
