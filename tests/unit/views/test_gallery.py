"""Data of the gallery of a made-up run, whole and half done."""

import base64
import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_world import ODD, Made, add_scores, flat_png, png_of, write_run
from PIL import Image

from icsd.cli import main
from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import shard_names
from icsd.views.gallery import missing_lines, write_gallery
from icsd.views.gallery.packs import FULL, THUMBNAIL, Packs, script_json, thumbnail_and_full
from icsd.views.gallery.pictures import NOT_CHECKED, NOT_DRAWN
from icsd.views.run import found_run
from icsd.views.run_table import RunTable

ANCHORS = 12


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A whole run of 12 anchor captions in two shards."""
    write_run(tmp_path / "made", Made(ANCHORS))
    return tmp_path / "made"


def _data(gallery: Path, name: str) -> Any:
    """Read the data that a script passes to the page."""
    text = (gallery / "data" / f"{name}.js").read_text(encoding="ascii")
    return json.loads(re.fullmatch(r'gallery\.receive\("[a-z0-9-]+",(.*)\);\n', text).group(1))


def _pictures(gallery: Path) -> dict[str, dict[str, Any]]:
    """The catalogue's entries by id, each with its details."""
    columns = _data(gallery, "catalog")
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return {row["id"]: row | _data(gallery, row["place"][0])[row["place"][1]] for row in rows}


def _written(run: Path, pictures: int = 100) -> tuple[Path, list[str]]:
    missing = write_gallery(found_run(run), run / "gallery", pictures)
    return run / "gallery", missing


def test_a_picture_has_its_sentence_captions_verdict_and_lineage(run: Path) -> None:
    gallery, missing = _written(run)
    assert missing == []
    shown = _pictures(gallery)
    assert len(shown) == 2 * ANCHORS
    row = shown["multi-3"]
    assert row["sentence"] == "Together: a red boat number 3"
    assert [(number, near, chosen) for number, _, near, chosen in row["captions"]] == [
        (3, 1.0, True), (4, 0.7, True), (5, 0.5, False), (6, 0.3, False),
    ]  # fmt: skip
    assert (row["verdict"], row["score"], row["similarity"]) == ("safe", 0.03, 0.7)
    assert row["datasets"] == {"multi": "2 pairs"}
    assert (row["seed"], row["image_model"], row["model"]) == (str(2**61 + 3), "a model", "gpt")
    assert (row["prompt"], row["tokens"], row["reason"]) == ("abc", [500, 40], "in the dataset")
    shard = next(path for path in (run / "images/multi").glob("*-of-*.parquet") if "multi-3" in _ids(path))
    assert row["shard"] == shard.stem
    assert row["table"] == f"images/multi/{shard.name}"
    single = shown["single-3"]
    assert single["captions"] == [[3, "a red boat number 3", None, True]]
    assert single["similarity"] is None


def _ids(path: Path) -> list[str]:
    return tables.read(path, tables.IMAGES, ["image_id"])["image_id"].to_pylist()


def test_a_dropped_picture_has_its_reason(run: Path) -> None:
    row = _pictures(_written(run)[0])["multi-5"]
    assert (row["verdict"], row["reason"]) == ("unsafe", "unsafe")
    assert row["datasets"] == {"multi": "unsafe: the safety checker's score is 0.500"}


def test_a_picture_that_a_server_refused_has_its_reason_and_no_thumbnail(run: Path) -> None:
    for path in (run / "images/multi").glob("*-of-*.parquet"):
        rows = tables.read(path, tables.IMAGES).to_pylist()
        refused = {"image": None, "reason": "refused: no"}
        tables.write(path, tables.IMAGES, [row | refused if row["image_id"] == "multi-3" else row for row in rows])
    for path in (run / "safety/multi").glob("*.parquet"):
        rows = tables.read(path, tables.SAFETY).to_pylist()
        missing = {"score": None, "verdict": "missing"}
        tables.write(path, tables.SAFETY, [row | missing if row["image_id"] == "multi-3" else row for row in rows])
    row = _pictures(_written(run)[0])["multi-3"]
    assert (row["verdict"], row["score"], row["thumbnail"]) == ("missing", None, "")


def test_pictures_of_one_anchor_caption_stand_together_and_the_limit_keeps_them(run: Path) -> None:
    gallery, _ = _written(run, pictures=4)
    ids = [image_id.split("-") for image_id in _pictures(gallery)]
    assert [arm for arm, _ in ids] == ["multi", "single"] * 4
    assert all(one[1] == other[1] for one, other in zip(ids[::2], ids[1::2], strict=True))
    assert "4 of 12 pictures" in re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", (gallery / "index.html").read_text()))


@pytest.fixture
def scored(run: Path) -> dict[str, dict[str, Any]]:
    """The entries of a run with scores, by id."""
    add_scores(run, Made(ANCHORS))
    gallery, missing = _written(run)
    assert missing == []
    return _pictures(gallery)


def test_a_picture_has_its_scores_and_the_reasons_of_dropped_pairs(scored: dict[str, dict[str, Any]]) -> None:
    row = scored["multi-6"]
    assert (row["sentence_score"], row["caption_scores"]) == (0.56, [0.36, 0.26])
    assert [(each[0], *each[4:]) for each in row["captions"]] == [
        (6, 0.36, ""),
        (7, 0.26, "dropped, below alignment.min_score=0.28: its score is 0.260"),
        (8, None, ""),
        (9, None, ""),
    ]
    assert (row["datasets"], row["reason"]) == ({"multi": "1 pairs"}, "in the dataset")
    assert scored["single-6"]["captions"] == [[6, "a blue boat number 6", None, True, 0.36, ""]]


def test_a_picture_without_a_pair_left_says_so(scored: dict[str, dict[str, Any]]) -> None:
    row = scored["multi-7"]
    assert row["datasets"] == {"multi": "all its pairs are dropped"}
    assert row["reason"] == "all its pairs are dropped"


def test_an_added_caption_is_among_those_of_its_picture(scored: dict[str, dict[str, Any]]) -> None:
    row = scored["multi-8"]
    added = "added, since this picture shows it better than its own (alignment.rematch)"
    assert row["captions"][-1] == [1, "a red boat number 1", None, False, 0.75, added]
    assert row["caption_scores"] == [0.38, 0.28, 0.75]
    assert row["datasets"] == {"multi": "3 pairs"}


def test_candidates_stand_together_and_the_unused_is_labelled(run: Path, scored: dict[str, dict[str, Any]]) -> None:
    labels = {image_id: (row["candidate"], row["unused"]) for image_id, row in scored.items() if row["arm"] == "multi"}
    assert {image_id: label for image_id, label in labels.items() if label[0]} == {
        "multi-3": ("candidate 0, not used", True),
        "multi-3_1": ("candidate 1", False),
        "multi-4_1": ("candidate 1, not used", True),
    }
    assert scored["multi-3"]["reason"] == "another candidate is used"
    ids = list(scored)
    assert ids.index("multi-3_1") == ids.index("multi-3") + 1
    second = scored["multi-3_1"]
    assert second["number"] == 3
    assert second["table"] == f"images/multi/candidate-1/{second['shard']}.parquet"
    assert "multi-3_1" in _ids(run / second["table"])


def test_a_scored_run_without_a_dataset_shows_its_scores(run: Path) -> None:
    add_scores(run, Made(ANCHORS))
    shutil.rmtree(run / "dataset")
    for name in ("alignment/single/0000-of-0002", "alignment/multi/candidate-1/0001-of-0002"):
        (run / f"{name}.parquet").unlink()
    (run / "images/multi/candidate-1/sentences.parquet").unlink()
    gallery, missing = _written(run)
    assert "alignment/single/: 1 of 4 shards: 0000-of-0002" in missing
    assert "alignment/multi/: 1 of 4 shards: candidate-1/0001-of-0002" in missing
    assert "images/multi/candidate-1/sentences.parquet" in missing
    shown = _pictures(gallery)
    assert shown["multi-6"]["caption_scores"] == [0.36, 0.26]
    assert not any(row["unused"] for row in shown.values())
    assert [] in [row["caption_scores"] for row in shown.values() if row["arm"] == "single"]


def test_test_captions_have_their_scores(run: Path) -> None:
    test = _data(_written(run)[0], "captions-0")
    assert test["captioners"] == ["multi", "single"]
    assert test["references"][7] == ["test picture 7 said in 0 ways", "test picture 7 said in 1 ways"]
    multi, single = test["scores"]
    assert max(multi) == multi[7] > 1
    assert set(single) == {0}
    assert all(test["places"])


def test_an_unfinished_run_shows_its_tables_and_lists_the_missing(run: Path) -> None:
    for name in ("evaluation", "dataset", "safety/single"):
        shutil.rmtree(run / name)
    gone, left = sorted((run / "images/multi").glob("*-of-*.parquet"))
    gone_ids = _ids(gone)
    gone.unlink()
    gallery, missing = _written(run)
    assert set(missing) == {
        "images/multi/: 1 of 2 shards: 0000-of-0002",
        "safety/single/: 2 of 2 shards",
        "dataset/multi/pairs.parquet",
        "dataset/multi/ledger.parquet",
        "dataset/single/pairs.parquet",
        "dataset/single/ledger.parquet",
        "evaluation/multi/seed-0/test/predictions.parquet",
        "evaluation/single/seed-0/test/predictions.parquet",
    }
    assert all(line in (gallery / "index.html").read_text() for line in missing)
    shown = _pictures(gallery)
    assert {row["thumbnail"] == "" for image_id, row in shown.items() if image_id in gone_ids} == {True}
    assert all(shown[image_id]["thumbnail"].startswith("data:image/png") for image_id in _ids(left))
    assert shown["single-3"]["verdict"] == NOT_CHECKED
    assert shown["single-3"]["reason"] == "no dataset yet"


def test_a_run_without_drawn_pictures_shows_sentences(run: Path) -> None:
    for path in [*(run / "images").glob("*/*-of-*.parquet"), *(run / "safety").glob("*/*.parquet")]:
        path.unlink()
    shown = _pictures(_written(run)[0])
    assert {row["verdict"] for row in shown.values()} == {NOT_DRAWN}
    assert len(shown) == 2 * ANCHORS


def test_a_run_that_has_only_begun_has_an_empty_gallery(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    gallery, missing = _written(tmp_path / "made")
    assert _data(gallery, "catalog") == {}
    assert "captions/all.parquet" in missing


def test_with_two_numbers_of_shards_the_newest_tables_count(run: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "again", Made(ANCHORS, shards=3))
    for path in run.rglob("*.parquet"):
        os.utime(path, (1, 1))
    shutil.copytree(tmp_path / "again", run, dirs_exist_ok=True)
    assert found_run(run).shards == [f"000{number}-of-0003" for number in range(3)]
    assert len(_pictures(_written(run)[0])) == 2 * ANCHORS


def test_a_gallery_is_replaced_whole(run: Path) -> None:
    gallery, _ = _written(run)
    (gallery / "data" / "old.js").write_text("")
    _written(run)
    assert not (gallery / "data" / "old.js").exists()
    assert list(run.glob(".gallery*")) == []


def test_a_folder_of_other_things_is_left_alone(run: Path) -> None:
    (run / "gallery").mkdir()
    _written(run)  # an empty one is taken
    with pytest.raises(InputError, match="has other things in it, which would be deleted; name a new folder"):
        write_gallery(found_run(run), run / "images", 1)
    assert (run / "images" / "multi").is_dir()


def test_texts_are_text_in_every_script_and_in_the_page(tmp_path: Path) -> None:
    run = tmp_path / "<b>odd & run"
    write_run(run, Made(6, caption=lambda number: ODD if number == 3 else "plain"))
    gallery, _ = _written(run)
    assert _pictures(gallery)["single-3"]["sentence"] == ODD
    for path in (gallery / "data").glob("*.js"):
        assert not set(path.read_text(encoding="ascii")) & set("<>&"), path.name
    page = (gallery / "index.html").read_text()
    assert "&lt;b&gt;odd &amp; run" in page
    assert "<b>odd" not in page


def test_script_json_is_text_wherever_it_stands() -> None:
    text = script_json([ODD, "\ud800"])
    assert text.isascii()
    assert not set(text) & set("<>&")
    assert json.loads(text) == [ODD, "\ud800"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))


def test_packs_return_the_position_of_each_value(tmp_path: Path) -> None:
    packs = Packs(tmp_path, "pictures", limit=20)
    places = [packs.add("x" * 9) for _ in range(5)]
    packs.close()
    assert places == [(f"pictures-{number // 2:04d}", number % 2) for number in range(5)]
    assert len(list(tmp_path.iterdir())) == 3


def test_small_pictures_stay_and_large_ones_get_a_thumbnail() -> None:
    address, full = thumbnail_and_full(flat_png(1), "multi-1")
    assert full == ""
    assert _decoded(address).format == "PNG"
    pixels = np.zeros((500, 1000, 3), dtype=np.uint8)
    address, full = thumbnail_and_full(png_of(pixels), "multi-1")
    assert _decoded(address).size == (THUMBNAIL, THUMBNAIL // 2)
    assert _decoded(full).size == (FULL, FULL // 2)
    with pytest.raises(InputError, match="multi-1"):
        thumbnail_and_full(b"no picture", "multi-1")


def _decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def test_a_large_picture_is_found_in_full_size(tmp_path: Path) -> None:
    write_run(tmp_path / "made", Made(2, png=lambda number: flat_png(number, 300)))
    gallery, _ = _written(tmp_path / "made")
    row = _pictures(gallery)["single-1"]
    name, place = row["full"]
    assert _decoded(_data(gallery, name)[place]).size == (300, 300)


def test_missing_shards_are_counted_and_some_named(tmp_path: Path) -> None:
    paths = [tmp_path / "summaries" / f"{name}.parquet" for name in shard_names(6)]
    (tmp_path / "summaries").mkdir()
    paths[1].touch()
    summaries = RunTable("summaries", "summaries", tables.SUMMARIES, tuple(paths))
    groups = RunTable("groups/all", "groups", tables.GROUPS, (tmp_path / "groups/all.parquet",))
    assert summaries.there == paths[1:2]
    some = "0000-of-0006, 0002-of-0006, 0003-of-0006 …"
    assert missing_lines([summaries, groups]) == [f"summaries/: 5 of 6 shards: {some}", "groups/all.parquet"]


def test_the_command_prints_the_page_and_the_missing_tables(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "evaluation" / "single")
    assert main(["gallery", "--results", str(run), "--output", str(run / "look")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        f"{run}/look/index.html",
        "not there yet: evaluation/single/seed-0/test/predictions.parquet",
    ]
    assert main(["gallery", "--results", str(run / "nowhere")]) == 1
    assert "there is no such folder; " in capsys.readouterr().err
