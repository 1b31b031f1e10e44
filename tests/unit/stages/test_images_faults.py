"""An image stage killed fifty times, and on a full disk. Its generator is a stub that tells what it draws.

A parent imports all once and forks a process a job: fifty times the imports would be most of the time.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from icsd.core import tables
from icsd.core.ids import item_seed, shard_names, shard_of
from icsd.core.store import Store
from icsd.stages.images import image_store

PICTURES, BATCH, KILLS = 1_200, 4, 50
AHEAD = 12  # pictures that a job draws at most after the moment it is to be killed at
PARENT = """
import io, os, resource, sys, time, traceback
from pathlib import Path
from PIL import Image
from icsd.core.errors import ICSDError
from icsd.core.store import Store
from icsd.stages.images import Drawing, generate_images, image_store

class Stub:
    def __init__(self, log, most):
        self.log, self.most = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), most

    def draw(self, sentences, seeds, batch_size, receive, **settings):
        for start in range(0, len(sentences), batch_size):
            if start >= self.most:
                time.sleep(60)
            batch = slice(start, start + batch_size)
            os.write(self.log, "".join(sentence + "\\n" for sentence in sentences[batch]).encode())
            receive(start, [self.picture(sentence) for sentence in sentences[batch]])

    def picture(self, sentence):
        png = io.BytesIO()
        Image.effect_noise((8, 8), 20).save(png, format="PNG")  # no two alike: what is drawn twice shows in the tables
        return png.getvalue()

def job(folder, names, batch, most, limit):
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    settings = Drawing(str(folder / "model"), 20, 7.5, None, "")
    for name in names:
        images = folder / "images" / f"{name}.parquet"
        if not images.exists():
            generate_images(
                folder / "sentences" / f"{name}.parquet", images, images.with_suffix(".png"), settings, batch,
                image_store(folder / "drawn", "run"), lambda *_: Stub(folder / "log", most),
            )

for line in sys.stdin:
    folder, batch, most, limit, *names = line.split()
    pid = os.fork()
    if not pid:
        try:
            job(Path(folder), names, int(batch), int(most), int(limit))
        except ICSDError as error:
            (Path(folder) / "error").write_text(str(error))
            os._exit(1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Jobs:
    """Starts jobs, one at a time."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, folder: Path, shards: int, most: int = PICTURES, limit: int = 0) -> int:
        """The process id of a job that draws the shards that have no table yet."""
        assert self._parent.stdin
        print(folder, BATCH, most, limit, *shard_names(shards), file=self._parent.stdin, flush=True)
        return self._read()

    def end(self) -> int:
        """The job's status, when it has ended."""
        return self._read()

    def run(self, folder: Path, shards: int, limit: int = 0) -> int:
        self.start(folder, shards, limit=limit)
        return self.end()

    def stop(self) -> None:
        self._parent.kill()
        self._parent.communicate()

    def _read(self) -> int:
        assert self._parent.stdout
        return int(self._parent.stdout.readline())


@pytest.fixture(scope="module")
def jobs() -> Iterator[Jobs]:
    started = Jobs()
    yield started
    started.stop()


def _write_sentences(folder: Path, shards: int, changed: int = 0) -> None:
    rows: list[list[dict[str, object]]] = [[] for _ in range(shards)]
    for number in range(PICTURES):
        image_id, sentence = f"multi-{number}", f"summary_{number}" + ("_changed" if number < changed else "")
        row = {"image_id": image_id, "arm": "multi", "sentence": sentence, "caption_ids": [number]}
        row |= {"seed": item_seed(image_id, 0), "group_id": number, "prompt_hash": "abc"}
        rows[shard_of(image_id, shards)].append(row)
    for name, shard in zip(shard_names(shards), rows, strict=True):
        tables.write(folder / "sentences" / f"{name}.parquet", tables.SENTENCES, shard)
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "model_index.json").write_text("{}")


def _images(folder: Path, shards: int) -> pa.Table:
    paths = [folder / "images" / f"{name}.parquet" for name in shard_names(shards)]
    return tables.concat(paths, tables.IMAGES).sort_by("image_id")


def _drawn(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


def _kept(folder: Path) -> Store:
    return image_store(folder / "drawn", "run")


@pytest.fixture(scope="module")
def killed(jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a job of two shards was killed fifty times, and then went on to the end."""
    folder, dice = tmp_path_factory.mktemp("killed"), random.Random(0)
    _write_sentences(folder, 2)
    for _ in range(KILLS):
        kept, before = _kept(folder).count(), len(_drawn(folder))
        moment = dice.randrange(PICTURES // KILLS - AHEAD)  # by pictures, not by the clock
        pid = jobs.start(folder, 2, most=moment + AHEAD)
        while len(_drawn(folder)) <= before + moment:
            time.sleep(0.0003)
        os.kill(pid, signal.SIGKILL)
        assert jobs.end() == -signal.SIGKILL
        assert _kept(folder).count() >= kept
    assert jobs.run(folder, 2) == 0
    return folder


def test_fifty_kills_lose_and_redraw_no_stored_picture(killed: Path) -> None:
    drawn = _drawn(killed)
    # drawn twice is at most the batch of each kill that had no time to be kept
    assert set(drawn) == {f"summary_{number}" for number in range(PICTURES)}
    assert PICTURES <= len(drawn) <= PICTURES + KILLS * BATCH
    assert _kept(killed).count() == PICTURES
    segments = list(_kept(killed).own_folder.iterdir())
    assert len(segments) <= KILLS + 2
    ids = _images(killed, 2)["image_id"].to_pylist()
    assert sorted(ids) == sorted(f"multi-{number}" for number in range(PICTURES))


def test_what_is_in_the_tables_was_drawn_once(killed: Path, jobs: Jobs) -> None:
    """The stub draws another picture each time: equal tables have equal pictures."""
    first, drawn = _images(killed, 2), len(_drawn(killed))
    for path in (killed / "images").iterdir():
        path.unlink()
    assert jobs.run(killed, 2) == 0
    assert _images(killed, 2).equals(first)
    assert len(_drawn(killed)) == drawn


def test_another_shard_count_draws_nothing(killed: Path, jobs: Jobs) -> None:
    drawn, first = len(_drawn(killed)), _images(killed, 2)
    _write_sentences(killed, 5)
    assert jobs.run(killed, 5) == 0
    assert len(_drawn(killed)) == drawn
    assert _images(killed, 5).equals(first)


def test_changed_sentences_alone_are_drawn(killed: Path, jobs: Jobs) -> None:
    drawn = len(_drawn(killed))
    _write_sentences(killed, 3, changed=100)
    assert jobs.run(killed, 3) == 0
    assert sorted(_drawn(killed)[drawn:]) == sorted(f"summary_{number}_changed" for number in range(100))


def test_an_undisturbed_run_has_a_file_a_job(tmp_path: Path, jobs: Jobs) -> None:
    _write_sentences(tmp_path, 3)
    assert jobs.run(tmp_path, 3) == 0
    assert len(list(_kept(tmp_path).own_folder.iterdir())) == 3
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["run"]


def test_a_full_disk_is_one_message_and_keeps_what_was_drawn(tmp_path: Path, jobs: Jobs) -> None:
    _write_sentences(tmp_path, 1)
    assert jobs.run(tmp_path, 1, limit=20_000) == 1
    said, kept = (tmp_path / "error").read_text(), _kept(tmp_path).count()
    (segment,) = _kept(tmp_path).own_folder.iterdir()
    assert said.startswith(f"{segment}: there is no room for it (File too large); nothing is half-written")
    assert segment.stat().st_size <= 20_000 and 0 < kept == len(_drawn(tmp_path)) - BATCH
    assert list((tmp_path / "images").iterdir()) == []
    assert jobs.run(tmp_path, 1) == 0
    assert len(_drawn(tmp_path)) == PICTURES + BATCH


def test_a_table_without_room_is_one_message_and_no_file(tmp_path: Path, jobs: Jobs) -> None:
    _write_sentences(tmp_path, 1)
    assert jobs.run(tmp_path, 1) == 0
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    assert jobs.run(tmp_path, 1, limit=20_000) == 1
    table = tmp_path / "images" / f"{shard_names(1)[0]}.parquet"
    assert (tmp_path / "error").read_text().startswith(f"{table}: there is no room for it (File too large)")
    assert list((tmp_path / "images").iterdir()) == []
    assert len(_drawn(tmp_path)) == PICTURES
