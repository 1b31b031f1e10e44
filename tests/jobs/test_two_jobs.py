"""Two jobs that work on one shard at the same time, each in a process of its own."""

import io
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from chat_server import ChatServer
from PIL import Image

from icsd.config import SummariesConfig
from icsd.core import tables
from icsd.core.lock import lock_file
from icsd.stages.images import Drawing, generate_images, image_store
from icsd.stages.summaries import summarize_groups

GROUPS, PICTURES = 40, 24
WAIT_S = 120


def _start(kind: str, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, __file__, kind, str(folder), *arguments], env=environment)


def _together(kind: str, folder: Path, *arguments: str) -> list[int]:
    """The exit status of each of two."""
    jobs = [_start(kind, folder, *arguments) for _ in range(2)]
    return [job.wait(WAIT_S) for job in jobs]


def _write_groups(folder: Path) -> None:
    captions = [{"caption_id": i, "image_id": i, "caption": f"a dog {i}", "split": "train"} for i in range(GROUPS + 2)]
    groups = [{"group_id": i, "caption_ids": [i, i + 1, i + 2], "similarities": [1.0] * 3} for i in range(GROUPS)]
    tables.write(folder / "captions.parquet", tables.CAPTIONS, captions)
    tables.write(folder / "groups.parquet", tables.GROUPS, groups)
    (folder / "prompt.txt").write_text("{% for caption in captions %}<{{ loop.index }}> {{ caption }}\n{% endfor %}")
    (folder / "prompt.yaml").write_text("max_words: 50\n")


def _write_sentences(folder: Path) -> None:
    rows = [
        {"image_id": f"multi-{i}", "arm": "multi", "sentence": f"sentence {i}", "group_id": i, "caption_ids": [i],
         "seed": i, "prompt_hash": "abc"}
        for i in range(PICTURES)
    ]  # fmt: skip
    (folder / "model").mkdir()
    (folder / "model" / "model_index.json").write_text("{}")
    tables.write(folder / "sentences.parquet", tables.SENTENCES, rows)


def _drawn(folder: Path) -> list[str]:
    log = folder / "drawn.log"
    return log.read_text().splitlines() if log.exists() else []


def test_two_jobs_send_no_request_twice(tmp_path: Path) -> None:
    _write_groups(tmp_path)
    with ChatServer(latency_ms=300) as server:
        assert _together("summaries", tmp_path, server.url) == [0, 0]
        assert max(Counter(seen.sha256 for seen in server.seen).values()) == 1
        assert len(server.seen) == GROUPS
    rows = tables.read(tmp_path / "run" / "summaries.parquet", tables.SUMMARIES)
    assert rows["status"].to_pylist() == ["ok"] * GROUPS
    assert not list((tmp_path / "run").glob(".*"))


def test_two_jobs_draw_no_picture_twice(tmp_path: Path) -> None:
    _write_sentences(tmp_path)
    assert _together("images", tmp_path) == [0, 0]
    assert sorted(_drawn(tmp_path)) == sorted(f"sentence {i}" for i in range(PICTURES))
    assert len(tables.read(tmp_path / "images.parquet", tables.IMAGES)) == PICTURES
    assert not list(tmp_path.glob(".*"))


def test_a_job_takes_over_from_one_that_was_killed(tmp_path: Path) -> None:
    _write_sentences(tmp_path)
    with _start("images", tmp_path) as first:
        end = time.monotonic() + WAIT_S
        while len(_drawn(tmp_path)) < 5 and time.monotonic() < end:
            time.sleep(0.02)
        second = _start("images", tmp_path)
        first.kill()
    assert lock_file(tmp_path / "images.parquet").exists()
    assert second.wait(WAIT_S) == 0
    drawn = Counter(_drawn(tmp_path))
    assert len(drawn) == PICTURES
    assert sum(drawn.values()) <= PICTURES + 1  # the one that was not yet kept
    assert not list(tmp_path.glob(".*"))


class Stub:
    """Draws slowly, and tells what."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "drawn.log"

    def draw(self, sentences, seeds, batch_size, receive, **settings):  # type: ignore[no-untyped-def]
        for number, sentence in enumerate(sentences):
            with self._log.open("a") as log:
                log.write(sentence + "\n")
            time.sleep(0.05)
            png = io.BytesIO()
            Image.effect_noise((8, 8), 20).save(png, format="PNG")
            receive(number, [png.getvalue()])


def _summarize(folder: Path, url: str) -> None:
    asked = {"base_url": url, "model": "m", "api_key_env": None, "concurrency": 4}
    config = SummariesConfig.model_validate({"provider": "openai", "store": str(folder / "replies"), "openai": asked})
    run = folder / "run"
    summarize_groups(
        folder / "groups.parquet", folder / "captions.parquet", folder / "prompt.txt", run / "summaries.parquet",
        config, run,
    )  # fmt: skip


def _draw(folder: Path) -> None:
    generate_images(
        folder / "sentences.parquet", folder / "images.parquet", folder / "images.png",
        Drawing(str(folder / "model"), 20, 7.5, None, ""), 1, image_store(folder / "kept", "run"),
        lambda *_: Stub(folder),
    )  # fmt: skip


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["summaries", folder, url]:
            _summarize(Path(folder), url)
        case ["images", folder]:
            _draw(Path(folder))
        case other:
            pytest.exit(f"unknown: {other}")
