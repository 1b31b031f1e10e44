"""Images from a server, against one that misbehaves."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_server import REFUSALS, RETRIED, ImageServer, encoded, image_of
from PIL import Image

from icsd.config import ImagesConfig
from icsd.core import tables
from icsd.core.errors import ConfigError, TooManyDroppedError
from icsd.core.ids import item_seed
from icsd.core.pictures import read_header
from icsd.llm import throttle
from icsd.llm.budget import Budget, OutOfBudget
from icsd.llm.cache import ResponseCache, spending
from icsd.llm.endpoint import EndpointError
from icsd.stages.images import draw_images, image_store

KEY, VARIABLE = "sk-secret-0123456789", "ICSD_TEST_KEY"
RESULTS = Path("results/run")
BOTH = ("model", "parameters")  # keys of the section openai and of images: here of openai


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(throttle, "FIRST_BACKOFF_S", 0.01)


def _config(url: str, **changes: Any) -> ImagesConfig:
    """`changes` of the section openai, and of images where a key is of that."""
    own = {key: changes.pop(key) for key in list(changes) if key in ImagesConfig.model_fields and key not in BOTH}
    openai = {"base_url": url, "model": "m", "timeout_s": 5, "retries": 2, "concurrency": 4} | changes
    return ImagesConfig(**{"provider": "openai", "model": "unused", "size": [16, 24], "openai": openai} | own)


def _draw(url: str, *sentences: str, first: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """The rows of IMAGES of these sentences, numbered from `first`."""
    rows = [
        {
            "image_id": f"multi-{first + number}", "arm": "multi", "sentence": sentence, "group_id": number,
            "caption_ids": [number], "seed": item_seed(f"multi-{first + number}", 0), "prompt_hash": None,
        }
        for number, sentence in enumerate(sentences)
    ]  # fmt: skip
    tables.write("sentences.parquet", tables.SENTENCES, rows)
    config = _config(url, **changes)
    draw_images(Path("sentences.parquet"), Path("images.parquet"), Path("sheet.png"), {}, config, RESULTS)
    return tables.read("images.parquet", tables.IMAGES).to_pylist()


def _events() -> list[dict[str, Any]]:
    return [dict(event) for event in ResponseCache(Path("results/drawn")).events()]


def _outcomes() -> list[str]:
    return [event.get("failed", "image") for event in _events()]


def test_a_request_has_what_the_server_needs_and_the_image_is_a_row() -> None:
    with ImageServer() as server:
        [row] = _draw(server.url, "A dog.", parameters={"num_inference_steps": 20}, usd_per_image=0.04)
        [seen] = server.seen
    seed = item_seed("multi-0", 0)
    assert seen.body == {
        "model": "m", "prompt": "A dog.", "n": 1, "size": "24x16", "response_format": "b64_json",
        "num_inference_steps": 20, "seed": seed % 2**31,
    }  # fmt: skip
    assert row["image"] == {"bytes": encoded(image_of(seen.body)), "path": "multi-0.png"}
    assert (row["sentence"], row["seed"], row["model"], row["reason"]) == ("A dog.", seed, "m", None)
    assert read_header(Path("sheet.png")).size[0] > 100
    [event] = _events()
    assert event["usd"] == 0.04 and event["run"] == "run" and event["model"] == "m"
    assert len(list(Path("results/drawn/run").glob("*.pictures"))) == 1


def test_a_stored_image_is_not_requested_again() -> None:
    with ImageServer() as server:
        first = _draw(server.url, "A dog.", "A cat.", "A dog.")
        assert len(server.seen) == 3  # equal sentences have seeds of their own
        Path("images.parquet").unlink()
        assert _draw("http://127.0.0.1:9/v1", "A dog.", "A cat.", "A dog.", concurrency=1) == first
        for change in ({"model": "other"}, {"parameters": {"step": 3}}, {"size": 32}, {"seed_parameter": None}):
            before = len(server.seen)
            _draw(server.url, "A dog.", **change)
            assert len(server.seen) == before + 1, change
    assert "seed" not in server.seen[-1].body and server.seen[-2].body["size"] == "32x32"


@pytest.mark.parametrize("fault", RETRIED)
def test_a_fault_is_retried(fault: str) -> None:
    with ImageServer(script=lambda attempt, body: "ok" if attempt else fault) as server:
        [row] = _draw(server.url, "A dog.", timeout_s=1, usd_per_image=1.0)
        assert row["image"] and row["reason"] is None and len(server.seen) == 2
    outcomes = _outcomes()
    assert outcomes[-1] == "image" and len(outcomes) == 2
    charged = sum(event["usd"] for event in _events())
    assert charged == (1.0 if fault.startswith("http") else 2.0)  # a lost image may have been charged


@pytest.mark.parametrize("fault", ["http-500", "text", "http-400"])
def test_a_lasting_fault_is_a_row_with_its_reason_or_fails_the_shard(fault: str) -> None:
    sentences = [f"Dog {number}." for number in range(10)]
    with ImageServer(script=lambda attempt, body: fault if body["prompt"] == "Dog 3." else "ok") as server:
        rows = _draw(server.url, *sentences)
        assert [row["image_id"] for row in rows if row["image"] is None] == ["multi-3"]
        assert rows[3]["reason"].split(":")[0] == ("unreadable-reply" if fault == "text" else fault)
        # before the first image, a 400 may be of response_format: that request is sent once more without it
        assert len(server.seen) in ((10, 11) if fault == "http-400" else (12,))
        with pytest.raises(TooManyDroppedError, match=r"1 of 10 .* images.max_drop_share=0.05"):
            _draw(server.url, *sentences, max_drop_share=0.05)
        server.script = lambda attempt, body: "ok"
        before = len(server.seen)
        assert all(row["image"] for row in _draw(server.url, *sentences, max_drop_share=0.05))
        assert len(server.seen) == before + 1


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_is_a_row_with_its_reason_and_not_requested_again(refusal: str) -> None:
    with ImageServer(script=lambda attempt, body: refusal if "gun" in body["prompt"] else "ok") as server:
        rows = _draw(server.url, "A dog.", "A gun.", max_drop_share=0.0, usd_per_image=1.0)
        assert rows[0]["image"] and rows[1]["image"] is None
        assert rows[1]["reason"].startswith("refused: ") and "Your reque" in rows[1]["reason"]
        assert len(server.seen) == 2 and sum(event["usd"] for event in _events()) == 1.0
        assert _draw(server.url, "A dog.", "A gun.", max_drop_share=0.0) == rows and len(server.seen) == 2


@pytest.mark.parametrize(("reply", "words"), [("wrong-size", r"48 by 16 .* \[16, 48\]"), ("address", "b64_json")])
def test_a_server_that_cannot_do_it_ends_the_job_after_the_first_images(reply: str, words: str) -> None:
    sentences = [f"Dog {number}." for number in range(40)]
    with ImageServer(script=lambda attempt, body: reply) as server:
        with pytest.raises(ConfigError, match=words):
            _draw(server.url, *sentences, usd_per_image=1.0)
        assert len(server.seen) <= 8
        assert sum(event["usd"] for event in _events()) == len(server.seen)


def test_an_image_of_another_size_among_good_ones_is_a_row_with_its_reason() -> None:
    sentences = [f"Dog {number}." for number in range(20)]
    with ImageServer(script=lambda attempt, body: "wrong-size" if body["prompt"] == "Dog 19." else "ok") as server:
        rows = _draw(server.url, *sentences, concurrency=1)
    assert rows[19]["reason"] == "wrong-size: 48 by 16 pixels, not 24 by 16" and len(server.seen) == 20


def test_without_a_size_the_server_decides() -> None:
    with ImageServer(size=(40, 8)) as server:
        [row] = _draw(server.url, "A dog.", size=None)
    assert "size" not in server.seen[0].body
    assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (40, 8)


@pytest.mark.parametrize("reply", ["jpeg", "data-url"])
def test_an_image_of_another_form_becomes_a_png_file(reply: str) -> None:
    with ImageServer(script=lambda attempt, body: reply) as server:
        [row] = _draw(server.url, "A dog.")
    found = Image.open(io.BytesIO(row["image"]["bytes"]))
    expected = np.asarray(image_of(server.seen[0].body), dtype=int)
    assert found.format == "PNG" and np.abs(np.asarray(found, dtype=int) - expected).mean() < 10


def test_a_server_without_response_format_is_sent_none() -> None:
    fields = frozenset(("model", "prompt", "n", "size", "seed"))
    with ImageServer(fields=fields) as server:
        rows = _draw(server.url, *(f"Dog {number}." for number in range(5)), concurrency=1)
    assert all(row["image"] for row in rows)
    sent = ["response_format" in each.body for each in server.seen]
    assert sent[0] and sum(sent) <= 2 and len(sent) == 5 + sum(sent)


def test_a_server_without_seeds_draws_once() -> None:
    """A redraw would be another image: the store keeps the first. With a seed it refuses, and says why."""
    fields = frozenset(("model", "prompt", "n", "size", "response_format"))
    with ImageServer(fields=fields) as server:
        with pytest.raises(TooManyDroppedError, match=r"http-400.*Unknown parameter: 'seed'"):
            _draw(server.url, "A dog.")
        rows = _draw(server.url, "A dog.", "A dog.", seed_parameter=None)
        assert rows[0]["image"]["bytes"] != rows[1]["image"]["bytes"]
        before = len(server.seen)
        assert _draw(server.url, "A dog.", "A dog.", seed_parameter=None) == rows and len(server.seen) == before


def test_the_budget_is_never_exceeded_and_images_are_stored() -> None:
    sentences = [f"Dog {number}." for number in range(30)]
    with ImageServer() as server:
        with pytest.raises(OutOfBudget, match=r"images.budget_usd=0.5 is used up.*raise the budget"):
            _draw(server.url, *sentences, budget_usd=0.5, usd_per_image=0.04)
        spent = spending(_events(), "run")
        assert spent.requests == len(server.seen) == 12 and spent.usd == pytest.approx(0.48)
        assert Budget(RESULTS / "image-budget", 0.5).used() == pytest.approx(0.48)
        assert all(row["image"] for row in _draw(server.url, *sentences, budget_usd=2.0, usd_per_image=0.04))
        assert len(server.seen) == 30
    assert not (RESULTS / "budget").exists()  # that of the summaries


def test_a_busy_server_is_sent_fewer_at_once() -> None:
    sentences = [f"Dog {number}." for number in range(40)]
    with ImageServer(most_at_once=2, latency_s=0.02) as server:
        rows = _draw(server.url, *sentences, concurrency=8, retries=8)
    assert all(row["image"] for row in rows)
    assert sum(each.reply == "http-429" for each in server.seen) < 40


@pytest.mark.parametrize(("status", "words"), [(401, VARIABLE), (403, VARIABLE), (404, "no model m")])
def test_a_refusing_server_ends_the_job_with_one_message(
    status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with ImageServer(script=lambda attempt, body: f"http-{status}") as server:
        with pytest.raises(EndpointError, match=words) as error:
            _draw(server.url, *(f"Dog {number}." for number in range(40)), api_key_env=VARIABLE)
        assert "images.openai.base_url" in str(error.value) and KEY not in str(error.value)
        assert len(server.seen) <= 8


def test_the_key_comes_from_its_variable_and_is_stored_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.delenv(VARIABLE, raising=False)
    with ImageServer(key=KEY, script=lambda attempt, body: "ok" if attempt else "http-400") as server:
        with pytest.raises(ConfigError, match=f"images.openai.api_key_env={VARIABLE}: the environment variable"):
            _draw(server.url, "A dog.", api_key_env=VARIABLE)
        monkeypatch.setenv(VARIABLE, KEY)
        [row] = _draw(server.url, "A dog.", api_key_env=VARIABLE, max_drop_share=1.0)
        assert row["reason"].startswith("http-400") and "***" in row["reason"]
        assert _draw(server.url, "A dog.", api_key_env=VARIABLE)[0]["image"]
    assert {each.authorization for each in server.seen} == {f"Bearer {KEY}"}
    stored = b"".join(path.read_bytes() for path in Path().rglob("*") if path.is_file())
    assert KEY.encode() not in stored and KEY not in caplog.text


JOB = """
import json, sys
from pathlib import Path
from icsd.config import ImagesConfig
from icsd.llm import throttle
from icsd.stages.images import draw_images
throttle.FIRST_BACKOFF_S = 0.01
config = ImagesConfig(**json.loads(sys.argv[1]))
draw_images(Path("sentences.parquet"), Path("images.parquet"), Path("sheet.png"), {}, config, Path("results/run"))
"""


def test_killed_jobs_pay_for_no_image_twice() -> None:
    """Jobs that are killed among faults continue: only what was under way at a kill is requested again."""
    sentences = [f"Dog {number}." for number in range(60)]
    faults = ["http-429-wait", "http-500", "cut", "text", "no-data"]

    def script(attempt: int, body: dict[str, Any]) -> str:
        number = int(body["prompt"].split()[1].rstrip("."))
        return "moderation" if number == 7 else faults[number % 5] if number % 3 == 0 and not attempt else "ok"

    with ImageServer(script=script, latency_s=0.03) as server:
        with pytest.raises(ConfigError):  # it writes the sentences and ends
            _draw(server.url, *sentences, api_key_env="ICSD_NO_SUCH_VARIABLE")
        config = _config(server.url, usd_per_image=0.01, budget_usd=5.0)
        for kill_at in (15, 40, None):
            job = subprocess.Popen([sys.executable, "-c", JOB, json.dumps(config.model_dump())])
            while kill_at and job.poll() is None and server.drawn.total() < kill_at:
                time.sleep(0.005)
            if kill_at:
                os.kill(job.pid, signal.SIGKILL)
            assert job.wait(60) == (-signal.SIGKILL if kill_at else 0)
        # 4 under way at each of 2 kills
        assert server.drawn.total() <= 59 + 8 and len(server.drawn) == 59
    rows = tables.read("images.parquet", tables.IMAGES).to_pylist()
    assert [row["image_id"] for row in rows if row["image"] is None] == ["multi-7"]
    kept = Counter(event.get("failed", "image") for event in _events())
    assert image_store(Path("results/drawn"), "run").count() == 59
    assert 59 - 8 <= kept["image"] <= 59  # an image is durable before its event is
    assert kept["refused"] == 1 and len(list(Path("results/drawn/run").iterdir())) == 3
    assert spending(_events(), "run").usd <= Budget(RESULTS / "image-budget", 5.0).used() <= 5.0


def test_a_budget_without_a_price_and_a_field_set_twice_are_refused() -> None:
    with pytest.raises(ValueError, match=r"budget_usd=5 needs openai.usd_per_image"):
        _config("http://127.0.0.1:9/v1", budget_usd=5.0)
    for name in ("size", "seed"):
        with pytest.raises(ValueError, match=f"parameters has {name}"):
            _config("http://127.0.0.1:9/v1", parameters={name: 3})


def test_an_empty_shard_sends_nothing() -> None:
    assert _draw("http://127.0.0.1:9/v1") == []
