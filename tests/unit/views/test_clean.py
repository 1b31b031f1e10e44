"""Clean: what it tells without touching anything, what it frees, and that nothing used or paid for is lost."""

import os
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from image_server import ImageServer
from report_world import CAPTIONS, PROMPT, small_config

from icsd.cli import main
from icsd.config import Config
from icsd.core import store as store_module
from icsd.core import tables
from icsd.core.errors import ConfigError, InputError
from icsd.core.files import UNFINISHED
from icsd.core.ids import item_seed, shard_names, shard_of
from icsd.core.lock import locked
from icsd.core.store import Store
from icsd.core.table import Table
from icsd.llm.budget import Budget
from icsd.llm.cache import ResponseCache, spending
from icsd.stages.images import draw_images, image_store
from icsd.stages.summaries.prompts import load_prompt
from icsd.views.clean import Leftovers, free, leftovers
from icsd.views.estimate.counts import count
from icsd.views.preview.trying import preview_name
from icsd.views.run import Run, configured_run
from icsd.views.run.on_disk import replaced_shards

OLD, NEW = ["old 0", "old 1", "old 2", "both"], ["new 0", "new 1", "both"]
PRICE = 0.5


@cache  # reading YAML takes longer than all else here
def _config(url: str, name: str, shards: int) -> Config:
    openai = {"base_url": url, "model": "m", "usd_per_image": PRICE}
    images = {"provider": "openai", "model": "unused", "size": [16, 16], "budget_usd": 50, "openai": openai}
    safety = {"model": "a/checker"}
    return small_config(run=name, shards=shards, arms=["multi"], images=images, safety=safety)


@dataclass
class DrawnRun:
    """A run in the folder results whose pictures a server draws, and paid ones of it in the store."""

    server: ImageServer
    name: str = "small"
    shards: int = 2

    @property
    def config(self) -> Config:
        return _config(self.server.url, self.name, self.shards)

    @property
    def run(self) -> Run:
        return configured_run(self.config)

    @property
    def store(self) -> Store:
        return image_store(Path(self.config.images.store), self.name)

    def select(self, sentences: Sequence[str]) -> None:
        """Write captions, and SENTENCES of which each is the first word's kind."""
        self.write("captions/all", tables.CAPTIONS, [
            {"caption_id": number, "image_id": number, "caption": text, "split": "train"}
            for number, text in enumerate(CAPTIONS)
        ])  # fmt: skip
        batches: list[list[dict[str, Any]]] = [[] for _ in range(self.shards)]
        for number, sentence in enumerate(sentences):
            image_id = f"multi-{number}"
            batches[shard_of(image_id, self.shards)].append({
                "image_id": image_id, "arm": "multi", "sentence": sentence, "group_id": number, "caption_ids": [number],
                "seed": item_seed(sentence, 0), "prompt_hash": None,
            })  # fmt: skip
        tables.write_batches(self.run.folder / "images/multi/sentences.parquet", tables.SENTENCES, batches)

    def draw(self, sentences: Sequence[str], shards: Sequence[str] | None = None) -> None:
        """Write SENTENCES and the IMAGES of all shards, as the rules do."""
        self.select(sentences)
        folder = self.run.folder / "images/multi"
        for shard in shard_names(self.shards) if shards is None else shards:
            images, sheet = folder / f"{shard}.parquet", folder / f"{shard}.png"
            draw_images(folder / "sentences.parquet", images, sheet, {}, self.config.images, self.run.folder, shard)

    def summarize(self, sentences: Sequence[str]) -> None:
        """Write the GROUPS and SUMMARIES of these sentences."""
        groups = [{"group_id": n, "caption_ids": [n], "similarities": [1.0]} for n in range(len(sentences))]
        self.write("groups/all", tables.GROUPS, groups)
        for number, shard in enumerate(shard_names(self.shards)):
            self.write(f"summaries/{shard}", tables.SUMMARIES, [
                {
                    "group_id": group_id, "summary": sentence, "selected": [group_id], "status": "ok", "model": "merge",
                    "prompt_hash": load_prompt(PROMPT).hash,
                }
                for group_id, sentence in enumerate(sentences) if group_id % self.shards == number
            ])  # fmt: skip

    def write(self, name: str, table: Table, rows: list[dict[str, Any]]) -> None:
        tables.write(self.run.folder / f"{name}.parquet", table, rows)

    def lines(self, *abandoned: str) -> list[Leftovers]:
        return leftovers(self.config, abandoned)[0]


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DrawnRun]:
    """A finished run with the pictures of an earlier prompt in the store: 3 of them in no table."""
    monkeypatch.chdir(tmp_path)
    with ImageServer() as server:
        made = DrawnRun(server)
        made.draw(OLD)
        made.draw(NEW)
        yield made


def _tree() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def _freeable(lines: Sequence[Leftovers]) -> dict[str | None, tuple[int, int]]:
    return {line.kind: (line.number, line.size) for line in lines if line.kind}


def _stored(store: Store) -> list[tuple[str, bytes]]:
    return sorted(Store(store.folder, store.suffix).records())


def _dead(path: Path) -> Path:
    """The name of an unfinished file beside `path` whose writer is dead."""
    return path.with_name(f".{path.name}.0123abcd.{socket.gethostname()}.{2**22 + 1}{UNFINISHED}")


def test_it_tells_what_no_table_has_and_touches_nothing(drawn: DrawnRun, capsys: pytest.CaptureFixture[str]) -> None:
    before = _tree()
    lines = drawn.lines()
    assert _tree() == before
    [kept, unused, costs] = lines
    assert (kept.number, kept.kind, unused.number, unused.kind) == (3, None, 3, "pictures")
    assert (unused.place, unused.what) == (Path("results/drawn/small"), "pictures in no table (1.50 USD)")
    assert (costs.what, costs.number, costs.kind) == ("costs of images", 6, None)
    headers = 16 * sum(len(list(store_module.read_segment(path))) for path in drawn.store.segments())
    assert kept.size + unused.size + headers == sum(path.stat().st_size for path in drawn.store.segments())


def test_it_frees_the_unused_pictures_and_the_others_are_found_without_drawing(drawn: DrawnRun) -> None:
    table = {path: tables.read(path, tables.IMAGES) for path in drawn.run.images("multi").paths}
    used = {row["bytes"] for rows in table.values() for row in rows["image"].to_pylist()}
    list(free(drawn.config, ["pictures"]))
    assert {value for _, value in _stored(drawn.store)} == used
    assert len(_stored(drawn.store)) == 3
    requests = len(drawn.server.seen)
    drawn.draw(NEW)
    assert len(drawn.server.seen) == requests
    assert {path: tables.read(path, tables.IMAGES) for path in table} == table
    assert _freeable(drawn.lines()) == {}
    drawn.draw(OLD)
    assert drawn.server.drawn["old 0"] == 2
    assert drawn.server.drawn["both"] == 1


def test_what_was_spent_and_what_is_done_count_the_same(drawn: DrawnRun) -> None:
    def counted() -> tuple[Any, ...]:
        events = ResponseCache(Path(drawn.config.images.store))
        pictures = count(drawn.config, load_prompt(PROMPT), drawn.run, rendered=False).pictures
        return (
            list(events.events()), spending(events.events(), "small"),
            Budget(drawn.run.images_budget, 50).used(), pictures,
        )  # fmt: skip

    drawn.summarize(NEW)
    before = counted()
    assert (before[1].usd, before[3].total, before[3].done) == (6 * PRICE, 3, 3)
    list(free(drawn.config, ["pictures", "unfinished", "shards", "decoded"]))
    assert counted() == before


def test_a_kill_between_writing_and_replacing_loses_and_doubles_nothing(
    drawn: DrawnRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn.draw([*NEW, "old 0"])  # so that a segment keeps one record and loses others
    before = _stored(drawn.store)

    def killed(unfinished: Path, path: Path) -> None:
        os.link(unfinished, _dead(path))  # what a killed process leaves
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store_module.files, "_put", killed)
        with pytest.raises(KeyboardInterrupt):
            list(free(drawn.config, ["pictures"]))
    lost = [record for record in before if record not in _stored(drawn.store)]
    assert {value for _, value in lost}.isdisjoint(
        row["bytes"] for path in drawn.run.images("multi").paths
        for row in tables.read(path, tables.IMAGES)["image"].to_pylist()
    )  # fmt: skip
    assert _freeable(drawn.lines())["unfinished"][0] == 1
    list(free(drawn.config, ["unfinished", "pictures"]))
    assert _freeable(drawn.lines()) == {}
    after = _stored(drawn.store)
    assert len(after) == len({key for key, _ in after}) == 4
    assert set(after) <= set(before)


def test_copies_and_what_a_kill_has_cut_are_freed(drawn: DrawnRun) -> None:
    records = _stored(drawn.store)
    list(free(drawn.config, ["pictures"]))
    kept = _stored(drawn.store)
    with image_store(drawn.store.folder, "a").writer() as segment:
        segment.append(kept[:2])
        segment.append(records[:1])
    path = max(drawn.store.segments(), key=lambda each: each.stat().st_mtime_ns)
    os.truncate(path, path.stat().st_size - 1)
    assert [line.number for line in drawn.lines("a") if line.kind] == [1, 2]  # the cut one there, the later copies
    list(free(drawn.config, ["pictures"], ["a"]))
    assert _stored(drawn.store) == kept


def test_a_preview_of_the_next_sentences_stays_until_these_are_selected(drawn: DrawnRun) -> None:
    list(free(drawn.config, ["pictures"]))
    before = _stored(drawn.store)
    with image_store(drawn.store.folder, preview_name(drawn.run)).writer() as segment:
        segment.append([("ab" * 32, b"a picture")])
    [path] = drawn.store.folder.glob("preview-of-*/*.pictures")
    selected = drawn.run.sentences("multi").paths[0].stat().st_mtime
    os.utime(path, (selected + 1, selected + 1))
    assert [(line.what, line.number, line.by) for line in drawn.lines()][1] == ("pictures of previews", 1, "kept")
    list(free(drawn.config, ["pictures"]))
    assert len(_stored(drawn.store)) == len(before) + 1
    os.utime(path, (selected - 1, selected - 1))
    list(free(drawn.config, ["pictures"]))
    assert _stored(drawn.store) == before
    assert not path.parent.exists()


def test_pictures_of_an_unfinished_run_stay(drawn: DrawnRun, capsys: pytest.CaptureFixture[str]) -> None:
    other = DrawnRun(drawn.server, "other")
    first, _ = shard_names(2)
    other.draw([f"other {number}" for number in range(4)], [first])
    before = _stored(drawn.store)
    assert drawn.lines()[0].by == "not judged"
    with pytest.raises(ConfigError, match=r"The run other may need .*: images/multi: 1 of 2 shards are not drawn"):
        list(free(drawn.config, ["pictures"]))
    assert _stored(drawn.store) == before
    assert _freeable(drawn.lines("other"))["pictures"][0] == 3  # what the tables of the abandoned one have is used
    other.draw([f"other {number}" for number in range(4)])
    assert _freeable(drawn.lines())["pictures"][0] == 3
    other.select(["changed"] * 4)  # the tables are those of other sentences
    with pytest.raises(ConfigError, match="2 of 2 shards are not drawn"):
        list(free(drawn.config, ["pictures"]))
    with pytest.raises(ConfigError, match="--abandoned none: there is no such run; name some of other, small"):
        drawn.lines("none")


def test_pictures_of_a_run_that_is_not_here_stay(drawn: DrawnRun) -> None:
    with image_store(drawn.store.folder, "elsewhere").writer() as segment:
        segment.append([("ab" * 32, b"a picture")])
    with pytest.raises(ConfigError, match=r"The run elsewhere .*no folder in results.\n.*--abandoned elsewhere"):
        list(free(drawn.config, ["pictures"]))
    assert len(list(free(drawn.config, ["pictures"], ["elsewhere"]))) == 2
    assert len(_stored(drawn.store)) == 3


@pytest.mark.parametrize(
    "path", ["results/small/images/multi/0000-of-0002.parquet", "results/small/head", "results/drawn/preview-of-small"]
)
def test_while_a_job_works_nothing_is_freed(drawn: DrawnRun, path: str) -> None:
    before = _tree()
    with locked(path), pytest.raises(InputError, match=f"^{re.escape(path)}: process .* works on it; let it end"):
        list(free(drawn.config, ["pictures"]))
    assert _tree() == before


def test_where_snakemake_works_nothing_is_freed(drawn: DrawnRun) -> None:
    lock = Path(".snakemake/locks/0.input.lock")
    lock.parent.mkdir(parents=True)
    lock.touch()
    with pytest.raises(InputError, match="snakemake works here, or was killed"):
        list(free(drawn.config, ["shards"]))


def test_a_segment_that_grows_is_not_replaced(drawn: DrawnRun, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn.draw(OLD)
    drawn.draw([*NEW, "old 0"])
    path, *_ = drawn.store.segments()

    def appended(file: Any, block: bytes) -> None:
        with path.open("ab") as other:
            other.write(b"more")
        os.write(file.fileno(), block)

    monkeypatch.setattr(store_module.files, "write_all", appended)
    before = path.read_bytes()
    kept = [True for block in store_module.read_segment(path) for _ in block]
    with pytest.raises(InputError, match="a job writes to it"):
        store_module.rewrite_segment(path, kept)
    assert path.read_bytes().startswith(before)
    assert not list(path.parent.glob(".*"))


def test_tables_of_another_shard_count_go_where_they_are_replaced(drawn: DrawnRun) -> None:
    drawn.shards = 1
    assert _freeable(drawn.lines("small")) == {"pictures": _freeable(drawn.lines("small"))["pictures"]}
    drawn.draw(NEW)
    lines = drawn.lines()
    assert _freeable(lines)["shards"][0] == 4  # two tables and their contact sheets
    [line] = free(drawn.config, ["shards"])
    assert (line.place, line.number) == (Path("results/small"), 4)
    assert sorted(path.name for path in Path("results/small/images/multi").iterdir()) == [
        "0000-of-0001.parquet", "0000-of-0001.png", "sentences.parquet",
    ]  # fmt: skip
    assert "shards" not in _freeable(drawn.lines())


def test_parts_of_the_search_for_neighbours_are_no_other_shards(tmp_path: Path) -> None:
    parts = [tmp_path / f"groups/neighbors/{name}.parquet" for name in [*shard_names(2), *shard_names(3)]]
    parts[0].parent.mkdir(parents=True)
    for path in parts:
        path.touch()
    run = Run(tmp_path, shards=shard_names(3), search_parts=shard_names(2))
    assert replaced_shards(run) == parts[2:]


def test_only_files_of_killed_writers_and_decoded_pictures_are_left_over(drawn: DrawnRun) -> None:
    resume = Path("results/small/captioner/multi/seed-0/resume")
    resume.mkdir(parents=True)
    for name in ("pictures.npy", "state.safetensors"):
        (resume / name).write_bytes(bytes(100))
    dead, alive = _dead(resume / "a.parquet"), resume / f".b.0123abcd.{socket.gethostname()}.{os.getpid()}{UNFINISHED}"
    dead.mkdir()
    (dead / "weights").write_bytes(bytes(50))
    alive.touch()
    found = _freeable(drawn.lines())
    assert (found["decoded"], found["unfinished"][0]) == ((1, 100), 1)
    list(free(drawn.config, ["decoded", "unfinished"]))
    assert sorted(path.name for path in resume.iterdir()) == sorted([alive.name, "state.safetensors"])
    assert len(_stored(drawn.store)) == 6


def test_the_command_tells_and_frees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], drawn: DrawnRun
) -> None:
    monkeypatch.setattr("icsd.views.clean.read_config", lambda *_: drawn.config)
    assert main(["clean"]) == 0
    shown = capsys.readouterr().out
    assert "icsd clean --free pictures" in shown
    assert "can be freed. Nothing was changed." in shown
    assert main(["clean", "--free", "pictures"]) == 0
    assert re.search(r"^Freed 0\.\d kB: 3 pictures in no table", capsys.readouterr().out, re.MULTILINE)
    assert main(["clean"]) == 0
    assert "There is nothing to free." in capsys.readouterr().out


def test_without_results_there_is_nothing_to_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("icsd.views.clean.read_config", lambda *_: small_config())
    for arguments in ([], ["--free", "pictures", "unfinished"]):
        assert main(["clean", *arguments]) == 0
        assert capsys.readouterr().out == "There is nothing to free.\n"
    assert list(tmp_path.iterdir()) == []
