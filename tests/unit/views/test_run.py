"""The reader of a run: which tables count, and that no other module spells their paths."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import shard_names, shard_of
from icsd.views.run import found_run
from icsd.views.run_table import RunTable

SOURCE = Path(__file__).parents[3] / "src/icsd"
STAGES = (
    "captions|embeddings|groups|summaries|images|alignment|safety|pictures|dataset|captioner|evaluation|benchmarks"
    "|logs|export"
)
TABLE = re.compile(
    rf"^results/|^({STAGES})/|^(all|neighbors|sentences|pairs|ledger|history|predictions|scores|group_times)\.parquet$"
)
READER = "views/run/"
OTHERS = (READER, "config/")  # config has default values such as summaries.store
PUBLISHED = {  # COCO's own folder, and an address of OpenAI's
    "views/export/dataset.py: images",
    "llm/images.py: images/generations",
}


def _spelled(module: Path) -> Iterator[str]:
    """Yield the beginnings of paths of a run's tables in a module: texts, and names that are added to a path by `/`."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and TABLE.match(node.value):
            yield node.value
        added = node.right if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) else None
        if isinstance(added, ast.Constant) and re.fullmatch(STAGES, str(added.value)):
            yield str(added.value)


def test_no_other_package_spells_a_path_of_a_runs_table() -> None:
    spelled = {
        f"{path}: {text}"
        for module in SOURCE.rglob("*.py")
        if not (path := module.relative_to(SOURCE).as_posix()).startswith(OTHERS)
        for text in _spelled(module)
    }
    assert spelled == PUBLISHED
    assert set(_spelled(SOURCE / READER / "folder.py")) > {"captions/all", "export"}


def _vectors(path: Path, caption_id: int) -> None:
    tables.write(path, tables.EMBEDDINGS, [{"caption_id": caption_id, "embedding": [1.0]}])


def test_the_newest_file_tells_which_shards_count(tmp_path: Path) -> None:
    for shard, modified in (("0000-of-0001", 1), ("0000-of-0002", 2), ("0001-of-0002", 2)):
        path = tmp_path / "embeddings" / f"{shard}.parquet"
        _vectors(path, modified)
        os.utime(path, (modified, modified))
    tables.write(tmp_path / "summaries/0000-of-0001.parquet", tables.SUMMARIES, [])
    os.utime(tmp_path / "summaries/0000-of-0001.parquet", (1, 1))
    run = found_run(tmp_path)
    assert run.shards == ["0000-of-0002", "0001-of-0002"]
    assert run.embeddings.count() == 2
    assert run.summaries.there == []
    (path,) = run.captions.missing
    assert path == tmp_path / "captions/all.parquet"


def test_a_run_that_has_not_begun_expects_the_simplest(tmp_path: Path) -> None:
    run = found_run(tmp_path)
    assert (run.arms, run.drawn, run.shards, run.seeds, run.tests) == (["multi"], ["multi"], [], [0], ["test"])
    assert run.images("multi").rows(["image_id"]).num_rows == 0
    with pytest.raises(InputError, match="there is no such folder"):
        found_run(tmp_path / "none")


def test_a_damaged_file_is_an_error_or_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, damaged = tmp_path / "0000-of-0002.parquet", tmp_path / "0001-of-0002.parquet"
    _vectors(whole, 7)
    damaged.write_bytes(b"cut short")
    strict = RunTable("embeddings", "embeddings", tables.EMBEDDINGS, (whole, damaged))
    with pytest.raises(InputError, match="is no whole Parquet file"):
        strict.rows()
    lenient = RunTable("embeddings", "embeddings", tables.EMBEDDINGS, (whole, damaged), skip_damaged=True)
    assert lenient.rows(["caption_id"])["caption_id"].to_pylist() == [7]
    assert lenient.count() == 1
    assert "taken as not there" in caplog.text
    found = RunTable("embeddings", "embeddings", tables.EMBEDDINGS, (whole,)).find(7)
    assert found == (whole, {"caption_id": 7, "embedding": [1.0]})


def test_a_row_is_found_in_the_file_of_its_keys_shard_or_else_in_another(tmp_path: Path) -> None:
    names = shard_names(8)
    paths = tuple(tmp_path / f"{name}.parquet" for name in names)
    for path in paths:
        path.write_bytes(b"cut short")
    found = RunTable("embeddings", "embeddings", tables.EMBEDDINGS, paths)
    own = paths[shard_of(5, 8)]
    _vectors(own, 5)
    assert found.find(5, ["caption_id"]) == (own, {"caption_id": 5})
    assert found.select([5], ["caption_id"]).to_pylist() == [{"caption_id": 5}]
    for path in paths:
        _vectors(path, 6)
    _vectors(paths[shard_of(7, 8) - 1], 7)
    assert found.find(7, ["caption_id"]) == (paths[shard_of(7, 8) - 1], {"caption_id": 7})
    assert found.select([7], ["caption_id"]).to_pylist() == [{"caption_id": 7}]
    assert found.find(8) is None


def test_texts_of_captions_are_those_that_the_corpus_has(tmp_path: Path) -> None:
    run = found_run(tmp_path)
    assert run.caption_texts([1]) == {}
    rows = [{"caption_id": each, "image_id": 1, "caption": f"text {each}", "split": "train"} for each in (1, 2, 3)]
    tables.write(run.captions.paths[0], tables.CAPTIONS, rows)
    assert run.caption_texts([3, 1, 3, 4]) == {1: "text 1", 3: "text 3"}
    assert run.caption_texts([]) == {}
