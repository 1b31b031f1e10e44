import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from shared_data import SHARED, needs

from icsd.config import Columns
from icsd.core import tables
from icsd.core.errors import InputError, TooManyDroppedError
from icsd.corpora import Corpus
from icsd.stages import photos
from icsd.stages.photos import PictureTables, read_pictures

IMAGES = [{"id": 7, "file_name": "seven.png"}, {"id": 3, "file_name": "three.jpg"}]
ANNOTATIONS = [
    {"id": 10, "image_id": 7, "caption": "a dog"},
    {"id": 11, "image_id": 3, "caption": "a café"},
    {"id": 12, "image_id": 7, "caption": "a ball"},
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with annotations.json and images/."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for image in IMAGES:
        pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / image["file_name"])
    _annotate(tmp_path, {"images": IMAGES, "annotations": ANNOTATIONS})
    return tmp_path


def _annotate(folder: Path, document: object) -> None:
    (folder / "annotations.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _read(folder: Path, max_drop_share: float = 0.0, max_record_share: float = 0.0) -> tuple[list[dict], list[dict]]:
    paths = PictureTables(*(folder / "out" / f"{name}.parquet" for name in ("images", "captions", "domains", "ledger")))
    read_pictures(
        Corpus((folder / "annotations.json",)), folder / "images", "val", paths, max_drop_share, max_record_share
    )
    return tables.read(paths.images, tables.IMAGES).to_pylist(), tables.read(
        paths.captions, tables.CAPTIONS
    ).to_pylist()


def _ledger(folder: Path) -> list[tuple]:
    rows = tables.read(folder / "out" / "ledger.parquet", tables.LEDGER).to_pylist()
    assert all(row["stage"] == "pictures" and row["kept"] == (row["reason"] is None) for row in rows)
    return [(row["item_id"], row["reason"]) for row in rows]


def test_pictures_keep_their_bytes_and_captions(corpus: Path) -> None:
    images, captions = _read(corpus)
    assert [row["image_id"] for row in images] == ["real-3", "real-7"]
    seven = (corpus / "images" / "seven.png").read_bytes()
    assert images[1] == {
        "image_id": "real-7",
        "image": {"bytes": seven, "path": "seven.png"},
        "sentence": "",
        "seed": 0,
        "model": "photograph",
        "reason": None,
    }
    assert [(row["caption_id"], row["image_id"], row["caption"]) for row in captions] == [
        (10, 7, "a dog"),
        (11, 3, "a café"),
        (12, 7, "a ball"),
    ]
    assert {row["split"] for row in captions} == {"val"}


def test_pictures_open_as_images_in_datasets(corpus: Path) -> None:
    datasets = pytest.importorskip("datasets")
    _read(corpus)
    files = str(corpus / "out" / "images.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, cache_dir=str(corpus / "cache"))["train"]
    assert rows[0]["image"].size == (30, 20)


def test_domains_are_those_of_the_images_that_have_one(corpus: Path) -> None:
    _annotate(corpus, {"images": [IMAGES[0] | {"domain": "near-domain"}, IMAGES[1]], "annotations": ANNOTATIONS})
    _read(corpus)
    rows = tables.read(corpus / "out" / "domains.parquet", tables.DOMAINS).to_pylist()
    assert rows == [{"image_id": 7, "domain": "near-domain"}]


def test_a_picture_without_caption_is_kept(corpus: Path) -> None:
    _annotate(corpus, {"images": IMAGES, "annotations": ANNOTATIONS[1:2]})
    images, captions = _read(corpus)
    assert (len(images), len(captions)) == (2, 1)


def _assert_one_message(corpus: Path, *parts: str) -> None:
    with pytest.raises(InputError) as error:
        _read(corpus)
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert not list((corpus / "out").glob("*"))  # nor what is unfinished


def _assert_dropped(corpus: Path, *parts: str) -> None:
    """The image 7 is dropped with its captions, and its reason has these parts; strictness makes it an error."""
    images, captions = _read(corpus, max_drop_share=0.5)
    assert ([row["image_id"] for row in images], [row["image_id"] for row in captions]) == (["real-3"], [3])
    reason = dict(_ledger(corpus))["real-7"]
    assert all(part in reason for part in parts), reason
    with pytest.raises(TooManyDroppedError, match=r"1 of 2 pictures .*pictures\.max_drop_share=0\.4.*the right folder"):
        _read(corpus, max_drop_share=0.4)


def test_a_missing_picture_file_is_dropped_with_its_captions(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    (corpus / "images" / "seven.png").unlink()
    _assert_dropped(corpus, "cannot be read: seven.png in ", ": No such file")
    assert "real-7 of" in caplog.text and "is dropped: it cannot be read" in caplog.text


def test_a_file_that_the_disk_does_not_give_ends_the_job(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: Path, limit: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(photos, "read_regular", failing)
    _assert_one_message(corpus, "annotations.json", "image 3", "three.jpg cannot be read (Input/output error)")


@pytest.mark.parametrize(
    "name", ["../seven.png", "a/../../seven.png", "{folder}/seven.png", "out.png", "out/seven.png", "seven.png\0"]
)
def test_a_picture_outside_the_folder_is_dropped(corpus: Path, name: str) -> None:
    outside = corpus / "outside"
    outside.mkdir()
    (corpus / "images" / "seven.png").rename(outside / "seven.png")
    (corpus / "seven.png").symlink_to(outside / "seven.png")
    (corpus / "images" / "out.png").symlink_to(outside / "seven.png")
    (corpus / "images" / "out").symlink_to(outside)
    image = {"id": 7, "file_name": name.format(folder=outside)}
    _annotate(corpus, {"images": [image, IMAGES[1]], "annotations": ANNOTATIONS})
    # a long name is cut
    _assert_dropped(corpus, "leads out of the folder: ", f" in {corpus / 'images'}")


def test_a_link_inside_the_folder_and_a_linked_folder_are_followed(corpus: Path) -> None:
    (corpus / "images" / "seven.png").rename(corpus / "images" / "7.png")
    (corpus / "images" / "seven.png").symlink_to("7.png")
    (corpus / "images").rename(corpus / "elsewhere")
    (corpus / "images").symlink_to(corpus / "elsewhere")
    assert len(_read(corpus)[0]) == 2


def test_pipes_and_links_in_a_circle_are_dropped(corpus: Path) -> None:
    path = corpus / "images" / "seven.png"
    path.unlink()
    os.mkfifo(path)
    _assert_dropped(corpus, "cannot be read: seven.png in ", ": not a regular file")
    path.unlink()
    path.symlink_to("seven.png")
    _assert_dropped(corpus, "cannot be read: ", "Too many levels of symbolic links")


@pytest.mark.parametrize("name", ["seven.png", "three.jpg"])
@pytest.mark.parametrize("keep", [0, 20, 0.5])
def test_a_picture_that_cannot_be_decoded_is_dropped_with_its_captions(corpus: Path, name: str, keep: float) -> None:
    path = corpus / "images" / name
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    dropped, kept = (7, 3) if name == "seven.png" else (3, 7)
    images, captions = _read(corpus, max_drop_share=0.5)
    assert [row["image_id"] for row in images] == [f"real-{kept}"]
    assert {row["image_id"] for row in captions} == {kept}
    reasons = dict(_ledger(corpus))
    assert reasons.keys() == {"real-3", "real-7"}
    assert reasons[f"real-{kept}"] is None
    assert reasons[f"real-{dropped}"].startswith("cannot be decoded: ")


def test_too_many_pictures_that_cannot_be_decoded_are_an_error(corpus: Path) -> None:
    (corpus / "images" / "seven.png").write_text("<html>not found</html>")
    with pytest.raises(TooManyDroppedError) as error:
        _read(corpus, max_drop_share=0.4)
    parts = [
        "real-7: cannot be decoded",
        "1 of 2 pictures",
        "annotations.json",
        "pictures.max_drop_share=0.4",
        "not the bytes of a picture",
    ]
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert not list((corpus / "out").glob("*"))


@pytest.mark.parametrize(
    ("images", "annotations", "parts"),
    [
        (
            IMAGES,
            [*ANNOTATIONS, {"id": 13, "image_id": 8, "caption": "x"}],
            ["annotations[3] (id 13)", "its image 8"],
        ),
        (IMAGES, [*ANNOTATIONS, ANNOTATIONS[0]], ["annotations[3]", "repeats the id 10"]),
        ([*IMAGES, IMAGES[0]], ANNOTATIONS, ["images[2]", "repeats the id 7"]),
        (IMAGES, [{"id": 10, "image_id": 7}], ["annotations[0]", "has no caption"]),
        (IMAGES, [{"id": 10, "image_id": 7, "caption": "  "}], ["annotations[0]", "(id 10): its caption is empty"]),
        ([{"id": 7}], [], ["images[0]", "names no picture"]),
        ([{"id": "seven", "file_name": "x"}], [], ["images[0]", 'id is "seven"']),
        ("none", [], ["images is no list"]),
        (IMAGES, ["x"], ["annotations[0]", "is no object"]),
    ],
)
def test_a_wrong_record_is_named(corpus: Path, images: object, annotations: object, parts: list[str]) -> None:
    _annotate(corpus, {"images": images, "annotations": annotations})
    _assert_one_message(corpus, "annotations.json", *parts)


def test_a_few_unusable_records_are_dropped_with_their_reasons(corpus: Path) -> None:
    wrong = [{"id": 13, "image_id": 8, "caption": "x"}, {"id": 14, "image_id": 7, "caption": None}]
    _annotate(corpus, {"images": IMAGES, "annotations": [*ANNOTATIONS, *wrong]})
    images, captions = _read(corpus, max_record_share=0.4)
    assert (len(images), [row["caption_id"] for row in captions]) == (2, [10, 11, 12])
    rows = tables.read(corpus / "out" / "dropped.parquet", tables.LEDGER).to_pylist()
    assert [row["reason"] for row in rows] == ["its caption is null, not a text", "its image 8 is not among the images"]
    with pytest.raises(TooManyDroppedError, match=r"2 of 5 records of .*captions\.max_drop_share=0\.3"):
        _read(corpus, max_drop_share=0.9, max_record_share=0.3)


def test_pictures_without_captions_count_as_records(corpus: Path) -> None:
    _annotate(corpus, {"images": IMAGES, "annotations": [{"id": 13, "image_id": 8, "caption": "x"}]})
    images, captions = _read(corpus, max_record_share=0.4)
    assert (len(images), captions) == (2, [])
    with pytest.raises(TooManyDroppedError, match="1 of 3 records of "):
        _read(corpus, max_record_share=0.3)


def test_a_file_of_another_shape_is_named(corpus: Path) -> None:
    _annotate(corpus, {"images": IMAGES})
    _assert_one_message(corpus, "annotations.json", "annotations is missing")
    _annotate(corpus, [IMAGES])
    _assert_one_message(corpus, "annotations.json", "holds a list")


def test_an_annotation_file_that_cannot_be_read_is_named(corpus: Path) -> None:
    path = corpus / "annotations.json"
    data = path.read_bytes()
    path.write_bytes(data[:50])
    _assert_one_message(corpus, "annotations.json", "line 1", "cut short")
    path.write_bytes(data.decode().encode("latin-1"))
    _assert_one_message(corpus, "annotations.json", "byte", "not UTF-8")
    path.unlink()
    _assert_one_message(corpus, "annotations.json", "no such file")


def test_a_corpus_without_pictures_is_an_error(corpus: Path) -> None:
    _annotate(corpus, {"images": [], "annotations": []})
    _assert_one_message(corpus, "annotations.json: holds no picture", "give a file with pictures")


def test_pictures_may_lie_in_the_corpus_itself(corpus: Path) -> None:
    seven, three = ((corpus / "images" / image["file_name"]).read_bytes() for image in IMAGES)
    images = [{"bytes": seven, "path": "seven.png"}, {"bytes": three, "path": None}, {"bytes": b"no", "path": None}]
    captions = [["a dog", "a ball"], ["a café"], ["lost"]]
    path = corpus / "test.parquet"
    pq.write_table(pa.table({"image": images, "image_id": [7, 3, 9], "captions": captions}), path)
    paths = PictureTables(*(corpus / "out" / f"{name}.parquet" for name in ("images", "captions", "domains", "ledger")))
    read_pictures(Corpus((path,)), None, "test", paths, 0.5)
    rows = tables.read(paths.images, tables.IMAGES).to_pylist()
    assert [(row["image_id"], row["image"]["bytes"]) for row in rows] == [("real-7", seven), ("real-3", three)]
    assert tables.read(paths.captions, tables.CAPTIONS)["caption"].to_pylist() == ["a dog", "a ball", "a café"]
    assert _ledger(corpus)[2] == ("real-9", "cannot be decoded: not the bytes of a picture")


def test_files_need_a_folder(corpus: Path) -> None:
    paths = PictureTables(*(corpus / "out" / f"{name}.parquet" for name in ("images", "captions", "domains", "ledger")))
    with pytest.raises(InputError, match=r"image 3: its picture three\.jpg is a file, and no folder is given; name"):
        read_pictures(Corpus((corpus / "annotations.json",)), None, "test", paths, 0.5)


def test_transparent_and_grey_pictures_are_read(corpus: Path) -> None:
    buffer = io.BytesIO()
    Image.new("LA", (4, 4)).save(buffer, format="PNG")
    (corpus / "images" / "seven.png").write_bytes(buffer.getvalue())
    assert _read(corpus)[0][1]["image"]["bytes"] == buffer.getvalue()


PHOTOGRAPHS = "flickr8k_images_1000.parquet"


@needs(PHOTOGRAPHS)
def test_photographs_in_a_parquet_table_are_read_with_their_captions(tmp_path: Path) -> None:
    paths = PictureTables(*(tmp_path / f"{name}.parquet" for name in ("images", "captions", "domains", "ledger")))
    read_pictures(Corpus((SHARED / PHOTOGRAPHS,), columns=Columns(image="jpeg")), None, "real", paths, 0.0)
    assert len(tables.read(paths.images, tables.IMAGES, columns=["image_id"])) == 1_000
    assert len(tables.read(paths.captions, tables.CAPTIONS)) == 5_000
    assert pq.ParquetFile(paths.images).num_row_groups == 16  # never all of them in memory
