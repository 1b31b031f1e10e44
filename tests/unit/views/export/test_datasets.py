"""Datasets as other people's tools read them, beside the manifest that they are of."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from export_world import NASTY, SHARDS, SOURCE, pairs_of, png, write_arm
from PIL import Image

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.corpora import Corpus
from icsd.views.export.dataset import LAYOUTS, ExportedArm, export_dataset
from icsd.views.export.manifest import read_manifest

NUMBERS = {3, 7, 25, 40}  # of the pictures that have captions
CAPTIONS = {f"multi-{number}": [pair["caption"] for pair in pairs_of(number)] for number in NUMBERS}
READ_TAR = """
import json, sys, numpy, webdataset
for sample in webdataset.WebDataset(sys.argv[1:], shardshuffle=False).decode("pil"):
    about = {"key": sample["__key__"], "json": sample["json"], "pixels": numpy.asarray(sample["png"]).tolist()}
    print(json.dumps(about))
"""
Export = Callable[[str], Path]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Exports the arm in a layout; the folder."""
    arm = write_arm(tmp_path / "results/tiny")

    def make(layout: str, name: str = "") -> Path:
        folder = tmp_path / "export" / (name or layout)
        export_dataset(arm, layout, folder, SOURCE, tmp_path / "results/tiny", tmp_path / "replies")
        return folder

    return make


def pixels(picture: Image.Image | bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)) if isinstance(picture, bytes) else picture)


def test_datasets_opens_the_huggingface_folder(export: Export, tmp_path: Path) -> None:
    from datasets import load_dataset

    rows = load_dataset(str(export("huggingface")), split="train", cache_dir=str(tmp_path / "cache"))
    assert {row["image_id"]: row["captions"] for row in rows} == CAPTIONS
    for row in rows:
        number = int(row["image_id"].removeprefix("multi-"))
        assert (pixels(row["image"]) == pixels(png(number))).all()
        assert row["caption_ids"] == [pair["caption_id"] for pair in pairs_of(number)]
        assert (row["seed"], row["model"], row["sentence"]) == (number, "some/drawer", f"{number}: {NASTY[1]}")


def test_huggingface_has_a_file_for_each_shard_with_pictures(export: Export) -> None:
    files = sorted((export("huggingface") / "data").iterdir())
    assert [file.name for file in files] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    held = [tables.read(file, tables.EXPORTED)["image_id"].to_pylist() for file in files]
    assert held == [["multi-3", "multi-40"], ["multi-7", "multi-25"]]


def test_row_groups_are_small_enough_to_stream(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icsd.views.export.dataset.ROWS", 1)
    assert pq.ParquetFile(export("huggingface") / "data/train-00000-of-00002.parquet").num_row_groups == 2


def test_webdataset_reads_the_tar_files(export: Export) -> None:
    """In a process of its own: the library leaves files open, and warnings are errors here."""
    shards = sorted(map(str, export("webdataset").glob("*.tar")))
    done = subprocess.run([sys.executable, "-c", READ_TAR, *shards], capture_output=True, text=True, check=True)
    samples = [json.loads(line) for line in done.stdout.splitlines()]
    assert {sample["key"]: sample["json"]["captions"] for sample in samples} == CAPTIONS
    for sample in samples:
        assert sample["pixels"] == pixels(png(sample["json"]["seed"])).tolist()


def test_tar_files_have_no_owner_and_no_time(export: Export) -> None:
    with tarfile.open(export("webdataset") / "train-000000.tar") as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == ["multi-3.json", "multi-3.png", "multi-40.json", "multi-40.png"]
    assert {(each.mtime, each.uid, each.gid, each.uname, each.gname) for each in members} == {(0, 0, 0, "", "")}


def test_pycocotools_and_the_workflow_itself_read_the_coco_folder(export: Export) -> None:
    from pycocotools.coco import COCO

    folder = export("coco")
    coco = COCO(folder / "captions_train.json")
    assert {image["file_name"]: (image["width"], image["height"]) for image in coco.imgs.values()} == {
        f"multi-{number}.png": (4, 6) for number in NUMBERS
    }
    for number in NUMBERS:
        assert [each["caption"] for each in coco.imgToAnns[number]] == CAPTIONS[f"multi-{number}"]
        assert (folder / "images" / coco.imgs[number]["file_name"]).read_bytes() == png(number)
    corpus = Corpus.of(
        [str(folder / "captions_train.json")],
        {
            "layout": "coco",
            "split": None,
            "columns": dict.fromkeys(("caption", "caption_id", "image_id", "image", "split")),
        },
    )
    again = {f"multi-{each.image_id}": [text for _, text in each.captions] for each in corpus.pictures()}
    assert again == CAPTIONS


def test_coco_has_a_number_for_each_pair_and_the_pictures_in_order(export: Export) -> None:
    document = json.loads((export("coco") / "captions_train.json").read_text(encoding="utf-8"))
    assert [image["id"] for image in document["images"]] == sorted(NUMBERS)
    assert [each["id"] for each in document["annotations"]] == list(range(1, 11))


WEIGHT = {1: 0.5, 2: 1.25, 3: 0.75, 4: 1.5}


@pytest.fixture
def weighted(tmp_path: Path) -> ExportedArm:
    """The arm with weights, and another candidate in the place of multi-40 that has its captions."""
    arm = write_arm(tmp_path / "results/tiny")
    other = {"multi-40": "multi-40_2"}
    images = tables.read(arm.images[0], tables.IMAGES).to_pylist()
    candidate = arm.images[0].parent / "candidate-2" / arm.images[0].name
    tables.write(candidate, tables.IMAGES, [images[2] | {"image_id": "multi-40_2"}])
    rows = tables.read(arm.pairs, tables.PAIRS).to_pylist()
    rows = [
        row | {"image_id": other.get(row["image_id"], row["image_id"]), "weight": WEIGHT[row["caption_id"]]}
        for row in rows
    ]
    tables.write(arm.pairs, tables.PAIRS, rows)
    return replace(arm, images=[*arm.images, candidate])


def test_every_layout_has_candidates_and_weights(weighted: ExportedArm, tmp_path: Path) -> None:
    from datasets import load_dataset

    source = SOURCE | {"alignment": {"model": "some/clip", "score": "cosine", "candidates": 3}}
    for layout in LAYOUTS:
        export_dataset(weighted, layout, tmp_path / layout, source, tmp_path / "results/tiny", tmp_path / "replies")
        assert "weight" in (tmp_path / layout / "README.md").read_text(encoding="utf-8").partition("## Contents")[0]
    rows = load_dataset(str(tmp_path / "huggingface"), split="train", cache_dir=str(tmp_path / "cache"))
    found = {row["image_id"]: dict(zip(row["caption_ids"], row["weights"], strict=True)) for row in rows}
    assert found["multi-40_2"] == WEIGHT and found["multi-7"] == {1: 0.5, 2: 1.25} and len(found) == 4
    with tarfile.open(tmp_path / "webdataset/train-000002.tar") as tar:
        assert [member.name for member in tar.getmembers()] == ["multi-40_2.json", "multi-40_2.png"]
        about = json.load(tar.extractfile("multi-40_2.json"))
    assert (about["image_id"], about["weights"]) == ("multi-40_2", list(WEIGHT.values()))
    document = json.loads((tmp_path / "coco/captions_train.json").read_text(encoding="utf-8"))
    assert [(image["id"], image["file_name"]) for image in document["images"]][-1] == (40, "multi-40_2.png")
    of_candidate = {each["caption_id"]: each["weight"] for each in document["annotations"] if each["image_id"] == 40}
    assert of_candidate == WEIGHT
    assert [each["id"] for each in document["annotations"]] == list(range(1, 11))


def test_without_weights_no_layout_has_any(export: Export) -> None:
    rows = tables.read(next((export("huggingface") / "data").iterdir()), tables.EXPORTED)
    assert "weights" not in rows.column_names and "weight" not in (export("coco") / "captions_train.json").read_text()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_input_gives_equal_bytes(export: Export, layout: str) -> None:
    first, second = (
        {
            path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in (export(layout), export(layout, f"{layout}-again"))
    )
    assert first == second and Path("README.md") in first


def test_a_picture_in_no_shard_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    arm = write_arm(tmp_path)
    arm.images[2].unlink()
    with pytest.raises(InputError, match=r"0002-of-0003.*no such file; run snakemake"):
        export_dataset(arm, "coco", tmp_path / "out", SOURCE, tmp_path, tmp_path / "replies")
    with pytest.raises(InputError, match=r"pairs\.parquet, multi-25: 2 of its 4 pictures are in no images table"):
        read_manifest(arm.pairs, arm.images[:2])
    assert not (tmp_path / "out").exists()


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    arm = write_arm(tmp_path)
    rows = tables.read(arm.images[0], tables.IMAGES).to_pylist()
    rows[2]["image"]["bytes"] = b"GIF8, but cut"
    tables.write(arm.images[0], tables.IMAGES, rows)
    with pytest.raises(InputError, match=r"0000-of-0003\.parquet, multi-40: is no picture"):
        export_dataset(arm, "webdataset", tmp_path / "out", SOURCE, tmp_path, tmp_path / "replies")
    assert not (tmp_path / "out").exists() and list(tmp_path.glob("*.unfinished")) == []


def test_shards_are_the_worlds(tmp_path: Path) -> None:
    arm = write_arm(tmp_path)
    assert len(arm.images) == len(SHARDS) == 3
    assert len(read_manifest(arm.pairs, arm.images).shards) == 2
